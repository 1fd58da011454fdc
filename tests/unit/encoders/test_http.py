"""Encoders of a provider: what is sent, what is believed of the answer, and every way in which it fails."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pgcad.encoders.http import HttpEncoder, HttpSpec, RateLimit
from pgcad.encoders.spec import read_spec
from pgcad.errors import CadError
from PIL import Image
from service_doubles.provider import Provider, Reply, listed, provider, unit, vectors
from service_doubles.space import TinySpace

DIM = 8
KEY = "sk-very-secret"
PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Time:
    """A clock that sleeping moves on, and nothing else."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.slept.append(seconds)
        self.now += seconds
        return False


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


def described(address: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "dialect": "openai",
        "url": address,
        "model": "m-1",
        "modalities": ["text", "image"],
        "key_env": "PGCAD_KEY_T",
    }
    return {"backend": "http", **fields, **changes}


def encoder(server: Provider, time: Time, **changes: Any) -> HttpEncoder:
    spec = HttpSpec.of(described(server.url, requests_per_minute=1_000_000, **changes), DIM)
    return HttpEncoder(spec, KEY, time.clock, time.wait)


def failure(server: Provider, time: Time, *items: str, **changes: Any) -> CadError:
    with pytest.raises(CadError) as failed:
        encoder(server, time, **changes).embed("query", items or ["nut"])
    told = failed.value
    assert told.hint
    assert KEY not in f"{told.message} {told.hint} {told.detail} {told!r}"
    return told


def test_texts_go_out_in_batches_and_come_back_in_order(server: Provider, time: Time) -> None:
    texts = [f"part {number}" for number in range(5)]
    made = encoder(server, time, batch=2).embed("query", texts)
    assert [request.body["input"] for request in server.received] == [texts[:2], texts[2:4], texts[4:]]
    np.testing.assert_allclose(made, [unit(text) for text in texts], rtol=1e-5)
    assert made.dtype == np.float32
    [first, *_] = server.received
    assert first.path == "/v1/embeddings"
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert first.body.keys() == {"model", "input", "encoding_format"}


def test_pictures_are_sent_as_data_in_the_words_of_dashscope(server: Provider, time: Time) -> None:
    qwen = encoder(server, time, dialect="dashscope")
    assert qwen.version == "m-1@dashscope"
    qwen.embed("image", [PICTURE])
    qwen.embed("passage", ["nut"])
    [picture, text] = [request.body for request in server.received]
    head, _, data = picture["input"]["contents"][0]["image"].partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PICTURE)
    assert text == {"model": "m-1", "input": {"contents": [{"text": "nut"}]}}


def test_pictures_are_sent_as_data_in_the_words_of_openai(server: Provider, time: Time) -> None:
    encoder(server, time).embed("image", [PICTURE])
    [item] = server.received[0].body["input"]
    assert item["image"].startswith("data:image/png;base64,")


def test_what_is_too_much_is_sent_again_when_the_provider_says(server: Provider, time: Time) -> None:
    server.replies = [Reply(status=429, headers={"Retry-After": "7"}), Reply(status=503)]
    made = encoder(server, time).embed("query", ["nut"])
    np.testing.assert_allclose(made, [unit("nut")], rtol=1e-5)
    asked, backoff = [pause for pause in time.slept if pause > 0.1]
    assert asked == 7
    assert 0.5 <= backoff <= 1


@pytest.mark.parametrize(
    ("reply", "sqlstate", "requests"),
    [
        (Reply(status=429), "53300", 3),
        (Reply(status=429, headers={"Retry-After": "3600"}), "53300", 1),
        (Reply(status=429, headers={"Retry-After": "soon"}), "53300", 3),
        (Reply(status=500), "08006", 3),
        (Reply({"error": f"bad key {KEY}"}, status=401), "28000", 1),
        (Reply(status=403), "28000", 1),
        (Reply({"error": {"message": f"no such model, {KEY}"}}, status=404), "22023", 1),
        (Reply(status=400), "22023", 1),
        (Reply(b"<html>", status=200), "08P01", 1),
        (Reply([]), "08P01", 1),
        (Reply({"data": None}), "08P01", 1),
        (Reply({"data": []}), "08P01", 1),
        (Reply({"data": listed(vectors(["a", "b"]))}), "08P01", 1),
        (Reply({"data": [{"index": 1, "embedding": vectors(["a"])[0]}]}), "08P01", 1),
        (Reply({"data": [{"embedding": vectors(["a"])[0]}]}), "08P01", 1),
        (Reply({"data": listed([["x"] * DIM])}), "08P01", 1),
        (Reply({"data": listed(vectors(["a"], DIM + 1))}), "22023", 1),
        (Reply({"data": listed([[]])}), "22023", 1),
        (Reply({"data": listed([[float("nan")] * DIM])}), "22000", 1),
        (Reply({"data": listed([[float("inf")] * DIM])}), "22000", 1),
        (Reply({"data": listed([[None] * DIM])}), "22000", 1),
        (Reply({"data": listed([[0.0] * DIM])}), "22000", 1),
        (Reply(b'{"data": [', promised=1000), "08006", 1),
    ],
)
def test_what_cannot_be_used_is_refused(
    server: Provider, time: Time, reply: Reply, sqlstate: str, requests: int
) -> None:
    server.otherwise = lambda _: reply
    assert failure(server, time, retries=2).sqlstate == sqlstate
    assert len(server.received) == requests


def test_a_wrong_dimension_says_both_numbers(server: Provider, time: Time) -> None:
    server.replies = [Reply({"data": listed(vectors(["nut"], 3))})]
    assert "8 dimensions" in (told := failure(server, time)).message and "of 3" in told.message


def test_a_redirect_is_not_followed(server: Provider, time: Time) -> None:
    server.replies = [Reply(status=307, headers={"Location": server.url + "/other"})]
    assert failure(server, time).sqlstate == "22023"
    assert len(server.received) == 1


def test_a_provider_that_never_answers_is_given_up(server: Provider, time: Time) -> None:
    server.let.clear()
    told = failure(server, time, timeout_s=0.2)
    assert (told.sqlstate, "timeout_s" in told.hint) == ("57014", True)
    assert len(server.received) == 1


def test_an_answer_that_trickles_in_is_given_up(server: Provider) -> None:
    class Late(Time):
        def clock(self) -> float:
            self.now += 30
            return self.now

    assert failure(server, Late(), timeout_s=20).sqlstate == "57014"


def test_an_endless_answer_is_given_up(server: Provider, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgcad.encoders.http.MAX_ANSWER_BYTES", 100)
    assert failure(server, time, "a" * 200).sqlstate == "08P01"


def test_a_provider_that_is_not_there_is_named_without_what_its_address_hides(time: Time) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    spec = HttpSpec.of(described(f"http://127.0.0.1:{port}/v1?token=hidden"), DIM)
    with pytest.raises(CadError, match=f"cannot reach http://127.0.0.1:{port}/v1$") as failed:
        HttpEncoder(spec, KEY, time.clock, time.wait).embed("query", ["nut"])
    assert failed.value.sqlstate == "08001"
    assert "refused" in failed.value.detail
    assert "hidden" not in failed.value.detail + failed.value.hint


def test_an_error_half_way_gives_no_rows_and_the_next_try_gives_all(server: Provider, time: Time) -> None:
    texts = ["a", "b", "c"]
    failing = encoder(server, time, batch=1, retries=0)
    server.replies = [Reply({"data": listed(vectors(["a"]))}), Reply(status=500)]
    with pytest.raises(CadError):
        failing.embed("passage", texts)
    np.testing.assert_allclose(failing.embed("passage", texts), [unit(text) for text in texts], rtol=1e-5)


def test_an_empty_text_is_not_sent(server: Provider, time: Time) -> None:
    assert failure(server, time, "nut", " ").sqlstate == "22023"
    assert server.received == []
    assert encoder(server, time).embed("query", []).shape == (0, DIM)


def test_requests_are_spread_over_the_minute(time: Time) -> None:
    limit = RateLimit(30, time.clock, lambda seconds: time.wait(seconds) and None)
    for _ in range(3):
        limit.wait()
    assert time.slept == [2, 2]
    time.now += 60
    limit.wait()
    assert time.slept == [2, 2]


def test_an_encoder_that_is_closed_waits_for_nothing(server: Provider) -> None:
    server.replies = [Reply(status=429, headers={"Retry-After": "50"})]
    closing = HttpEncoder(HttpSpec.of(described(server.url), DIM), KEY)
    closing.close()
    with pytest.raises(CadError) as failed:
        closing.embed("query", ["nut"])
    assert failed.value.sqlstate == "57P01"
    assert len(server.received) == 1


def test_fused_is_the_mean(server: Provider, time: Time) -> None:
    a, b = np.eye(DIM, dtype=np.float32)[:2]
    assert encoder(server, time).fuse(text=a, image=b)[:2] == pytest.approx([0.5**0.5, 0.5**0.5])
    with pytest.raises(CadError, match="nothing to fuse"):
        encoder(server, time).fuse()


@pytest.mark.parametrize(
    "changes",
    [
        {"dialect": "french"},
        {"url": "ftp://example.org/v1"},
        {"url": "file:///etc/passwd"},
        {"url": "https://user:password@example.org/v1"},
        {"url": "https://"},
        {"url": "http://[::1"},
        {"url": 7},
        {"model": ""},
        {"modalities": []},
        {"modalities": ["text", "smell"]},
        {"modalities": "text"},
        {"key_env": "PATH"},
        {"key_env": ""},
        {"batch": 0},
        {"batch": 1.5},
        {"batch": True},
        {"timeout_s": float("nan")},
        {"requests_per_minute": 0},
        {"retries": -1},
        {"headers": {}},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CadError) as refused:
        read_spec(described("https://example.org/v1", **changes), DIM, None)
    assert refused.value.sqlstate == "22023"
    assert refused.value.hint
    assert "password" not in str(changes.get("url")) or "user:" not in refused.value.message


def test_equal_descriptions_are_one_encoder() -> None:
    one, other = (read_spec(described("https://example.org/v1", batch=8), DIM, None) for _ in range(2))
    assert one == other and hash(one) == hash(other)
    assert one != read_spec(described("https://example.org/v1", batch=8), DIM + 1, None)


@pytest.mark.parametrize("value", [None, "", "two\nlines", "schlüssel"])
def test_without_a_usable_key_it_does_not_open(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("PGCAD_KEY_T", raising=False)
    if value is not None:
        monkeypatch.setenv("PGCAD_KEY_T", value)
    with pytest.raises(CadError, match="PGCAD_KEY_T") as refused:
        HttpSpec.of(described("https://example.org/v1"), DIM).open(TinySpace(), None)
    assert refused.value.sqlstate == "55000"


def test_a_server_of_one_s_own_needs_no_key(server: Provider) -> None:
    opened = HttpSpec.of(described(server.url, key_env=None), DIM).open(TinySpace(), None)
    opened.embed("query", ["nut"])
    assert "Authorization" not in server.received[0].headers
