"""Product codes: dimensions dealt out in strides, and sums of look-ups that order vectors as they are."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from pgcad.client import ServiceError
from pgcad.errors import CadError
from pgcad.index.product_quantizer import CENTROIDS, cluster, deal, encode
from pgcad.service.quantizing import encode_vectors, train_codebook
from service_doubles.scripted import run


def test_dimensions_are_dealt_out_in_strides() -> None:
    dealt = deal(np.arange(14, dtype=np.float32).reshape(2, 7), 3)
    assert dealt.tolist() == [[[0, 3, 6], [7, 10, 13]], [[1, 4, 0], [8, 11, 0]], [[2, 5, 0], [9, 12, 0]]]


def test_codes_tell_near_from_far() -> None:
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(60, 32)), 10, axis=0) + 0.3 * rng.normal(size=(600, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    header = {"dim": 32, "subvectors": 8, "seed": 5}
    reply, [body] = run(train_codebook, header, [vectors.astype(">f2").tobytes()])
    centroids = np.frombuffer(body, "<f4").reshape(8, CENTROIDS, reply["dim"])
    answer, _ = run(encode_vectors, header, [centroids.astype(">f2").tobytes(), vectors.astype(">f2").tobytes()])
    codes = np.frombuffer(base64.b64decode(answer["codes"]), np.uint8).reshape(600, 8)
    asked = deal(vectors[:1], 8)[:, 0]
    table = np.einsum("sw,scw->sc", asked, centroids)
    similar = table[np.arange(8), codes].sum(axis=1)
    assert np.corrcoef(similar, vectors @ vectors[0])[0, 1] > 0.95
    assert set(np.argsort(-similar)[:10].tolist()) == set(range(10))


def test_points_that_are_all_alike_have_centroids() -> None:
    centroids = cluster(np.ones((300, 4), np.float32), 1)
    assert np.isfinite(centroids).all()
    assert encode(np.ones((2, 4), np.float32), centroids[None]).shape == (2, 1)


@pytest.mark.parametrize(
    ("header", "payloads"),
    [
        ({"dim": 4, "subvectors": 2, "seed": 1}, [bytes(8 * 255)]),
        ({"dim": 4, "subvectors": 2, "seed": 1}, [bytes(7)]),
        ({"dim": 4, "subvectors": 2, "seed": 1}, []),
        ({"dim": 4, "subvectors": 0, "seed": 1}, [bytes(8 * 256)]),
        ({"dim": 4, "subvectors": 2, "seed": 1}, [np.full((256, 4), np.nan, ">f2").tobytes()]),
    ],
)
def test_what_is_no_sample_is_refused(header: dict[str, int], payloads: list[bytes]) -> None:
    with pytest.raises((CadError, ServiceError)) as refused:
        run(train_codebook, header, payloads)
    assert refused.value.sqlstate in ("22023", "22000")
