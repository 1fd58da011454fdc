"""Encoders of a provider: embeddings over HTTP, in the words of OpenAI or of DashScope (Qwen).

`openai` posts `{"model", "input", "encoding_format": "float"}` and reads `data[].embedding` in the order of
`data[].index` (https://platform.openai.com/docs/api-reference/embeddings/create). A text is a string; a picture is
`{"image": data URL}`, as servers with multimodal models take it (https://docs.langchain4j.dev/integrations/
embedding-models/jina). `dashscope` posts `{"model", "input": {"contents": [{"text"} or {"image": data URL}]}}` and
reads `output.embeddings[].embedding` in the order of `index` (https://www.alibabacloud.com/help/en/model-studio/
multimodal-embedding-api-reference).
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import urllib3
from numpy.typing import NDArray
from PIL import Image
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    InvalidHeader,
    LocationParseError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.util import parse_url

from pgcad.encoders.encoder import Encoder, Kind, Matrix, Modality, mean_of_given, said, unit_rows
from pgcad.encoders.spec import Fields
from pgcad.errors import CadError

KEY_PREFIX = "PGCAD_KEY_"
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 20.0
LONGEST_WAIT_S = 60.0
"""A provider that asks for more patience than this is not waited for."""
MAX_ANSWER_BYTES = 64 << 20
_CHUNK = 1 << 16
_QUOTED = 200
_KEYS = ("dialect", "url", "model", "key_env", "modalities", "batch", "requests_per_minute", "timeout_s", "retries")


@dataclass(frozen=True)
class Dialect:
    """How a request is put, and where in its answer the list of `{"index", "embedding"}` is."""

    body: Callable[[str, Kind, Sequence[str]], dict[str, Any]]
    vectors: Callable[[Any], Any]


def _openai_body(model: str, kind: Kind, items: Sequence[str]) -> dict[str, Any]:
    inputs = [{"image": item} for item in items] if kind == "image" else list(items)
    return {"model": model, "input": inputs, "encoding_format": "float"}


def _dashscope_body(model: str, kind: Kind, items: Sequence[str]) -> dict[str, Any]:
    name = "image" if kind == "image" else "text"
    return {"model": model, "input": {"contents": [{name: item} for item in items]}}


DIALECTS = {
    "openai": Dialect(_openai_body, lambda answer: answer["data"]),
    "dashscope": Dialect(_dashscope_body, lambda answer: answer["output"]["embeddings"]),
}


@dataclass(frozen=True)
class HttpSpec:
    """A model of a provider. `url` is the whole address that requests are posted to; times are in seconds."""

    dialect: str
    url: str
    model: str
    dim: int
    modalities: frozenset[Modality]
    key_env: str | None = None
    batch: int = 16
    requests_per_minute: int = 600
    timeout_s: float = 20.0
    retries: int = 3

    @classmethod
    def of(cls, given: Mapping[str, Any], dim: int) -> HttpSpec:
        """From a row of cad.space. Raises CadError 22023."""
        fields = Fields(given, _KEYS)
        return cls(
            dialect=fields.one_of("dialect", DIALECTS),
            url=_checked_url(fields.text("url")),
            model=fields.text("model"),
            dim=dim,
            modalities=fields.some_of("modalities", ("text", "image")),  # type: ignore[arg-type]
            key_env=_checked_key_name(fields.optional_text("key_env")),
            batch=fields.whole("batch", cls.batch, 1, 256),
            requests_per_minute=fields.whole("requests_per_minute", cls.requests_per_minute, 1, 1_000_000),
            timeout_s=fields.number("timeout_s", cls.timeout_s, 0.1, 600),
            retries=fields.whole("retries", cls.retries, 0, 10),
        )

    def open(self, default: Encoder, device: str | None) -> Encoder:
        """Nothing is loaded. Raises CadError 55000 when the key is not in the environment."""
        return HttpEncoder(self, None if self.key_env is None else _key(self.key_env))


def _checked_url(url: str) -> str:
    try:
        parts = parse_url(url)
    except LocationParseError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.host or parts.auth:
        raise CadError(
            "22023",
            "the encoder's url is not an address of http or https without a password",
            "Give the whole address of the embeddings, for example https://api.openai.com/v1/embeddings.",
        )
    return url


def _checked_key_name(name: str | None) -> str | None:
    if name is not None and not name.startswith(KEY_PREFIX):  # not any secret of the environment may be sent away
        hint = f"Export the key under such a name before `pgcad serve`, for example {KEY_PREFIX}QWEN."
        raise CadError("22023", f"the encoder's key_env must begin with {KEY_PREFIX}", hint)
    return name


def _key(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        hint = f"Set {name} for the process that runs `pgcad serve`, and restart it."
        raise CadError("55000", f"the encoder service has no usable key in the environment variable {name}", hint)
    return key


class RateLimit:
    """Spreads requests evenly over the minute, so that none waits for a whole one to pass."""

    def __init__(self, requests_per_minute: int, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._interval_s, self._clock, self._pause = 60 / requests_per_minute, clock, pause
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self) -> None:
        """Return when the next request may be sent."""
        with self._lock:
            turn = max(self._next, self._clock())
            self._next = turn + self._interval_s
        if (delay := turn - self._clock()) > 0:
            self._pause(delay)


class _TryAgain(Exception):
    """An answer after which the same request may succeed later; `after_s` when the provider said how much later."""

    def __init__(self, error: CadError, after_s: float | None) -> None:
        super().__init__(error.message)
        self.error, self.after_s = error, after_s


class HttpEncoder:
    """Texts and pictures embedded by a provider. What it answers is checked before anyone sees it."""

    def __init__(
        self,
        spec: HttpSpec,
        key: str | None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.version, self.dim = f"{spec.model}@{spec.dialect}", spec.dim
        self.modalities, self.largest_batch = spec.modalities, spec.batch
        self._spec, self._key, self._clock, self._closed = spec, key, clock, threading.Event()
        self._wait = wait or self._closed.wait
        self._dialect = DIALECTS[spec.dialect]
        self._limit = RateLimit(spec.requests_per_minute, clock, self._pause)
        self._pool = urllib3.PoolManager(maxsize=4)
        parts = parse_url(spec.url)
        self._where = f"{parts.scheme}://{parts.netloc}{parts.path or ''}"  # without a query, which may hold a secret

    def embed(self, kind: Kind, items: Sequence[Any]) -> Matrix:
        """(n, dim) unit rows of n texts or n pictures (h, w, 3).

        Raises CadError: 08001 unreachable, 08006 lost or failing, 08P01 not its dialect, 22000 no usable numbers,
        22023 refused or of another dimension, 28000 key refused, 53300 too many requests, 57014 slow.
        """
        inputs = [_data_url(item) if kind == "image" else said(item) for item in items]
        batches = [inputs[start : start + self._spec.batch] for start in range(0, len(inputs), self._spec.batch)]
        rows = [
            self._rows(self._ask(self._dialect.body(self._spec.model, kind, batch)), len(batch)) for batch in batches
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *rows])

    def fuse(
        self,
        text: Matrix | None = None,
        image: Matrix | None = None,
        shape: Matrix | None = None,
        brep: Matrix | None = None,
    ) -> Matrix:
        """The normalised mean of what is given."""
        return mean_of_given(text, image, shape, brep)

    def suppose_text(self, image: Matrix, shape: Matrix, brep: Matrix | None) -> Matrix | None:
        """None: nobody knows how the texts and pictures of a provider lie to each other."""
        return None

    def close(self) -> None:
        """Wait for nothing any more; only an answer that is due within `timeout_s` is still awaited."""
        self._closed.set()

    def _pause(self, seconds: float) -> None:
        if self._wait(seconds):
            raise CadError("57P01", "the encoder service is shutting down", "Try again in a moment.")

    def _ask(self, body: dict[str, Any]) -> Any:
        """The provider's answer; what it is too busy for is asked again, later each time."""
        content = json.dumps(body).encode()
        for attempt in range(self._spec.retries + 1):
            self._limit.wait()
            try:
                return self._post(content)
            except _TryAgain as failure:
                if attempt == self._spec.retries or (failure.after_s or 0) > LONGEST_WAIT_S:
                    raise failure.error from None
                # Half of it at random: clients that failed together must not come back together.
                backoff_s = min(FIRST_BACKOFF_S * 2**attempt, LAST_BACKOFF_S) * random.uniform(0.5, 1)
                self._pause(max(backoff_s, failure.after_s or 0))
        raise AssertionError("the last attempt returns or raises")

    def _post(self, content: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        deadline = self._clock() + self._spec.timeout_s
        try:
            response = self._pool.request(
                "POST",
                self._spec.url,
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(total=self._spec.timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                text = self._body(response, deadline)
            finally:
                response.release_conn()
        except HTTPError as error:
            raise self._failure(error) from None
        self._check_status(response, text)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise self._malformed("what is not JSON") from None

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The whole answer, unless it trickles in beyond the deadline or grows beyond all measure."""
        received = bytearray()
        while chunk := response.read1(_CHUNK):
            received += chunk
            if self._clock() > deadline:
                response.close()
                raise self._slow()
            if len(received) > MAX_ANSWER_BYTES:
                response.close()
                raise self._malformed(f"more than {MAX_ANSWER_BYTES:,} bytes")
        return bytes(received)

    def _failure(self, error: HTTPError) -> CadError:
        if isinstance(error, ReadTimeoutError):
            return self._slow()
        if isinstance(error, ProtocolError | DecodeError):
            hint = "Try again; if it happens twice, ask the provider."
            return CadError("08006", f"{self._where} went away before it answered", hint, _line(error))
        hint = "Check the url of the encoder and that the machine of `pgcad serve` may go there."
        return CadError("08001", f"cannot reach {self._where}", hint, _line(error))

    def _slow(self) -> CadError:
        hint = "Try again, or make the space with a higher timeout_s or a smaller batch."
        return CadError("57014", f"{self._where} did not answer within {self._spec.timeout_s:g} s", hint)

    def _malformed(self, what: str) -> CadError:
        hint = "Check url, dialect and model; a model that makes one vector of all its input needs batch 1."
        return CadError("08P01", f"{self._where} answered {what}", hint)

    def _check_status(self, response: urllib3.BaseHTTPResponse, body: bytes) -> None:
        status = response.status
        if status == 200:
            return
        if status == 429:
            after_s = _retry_after_s(response)
            when = "" if after_s is None else f", and says to wait {after_s:g} s"
            hint = "Try again later; a lower requests_per_minute or larger batches keep within what it allows."
            raise _TryAgain(CadError("53300", f"{self._where} takes no more requests now{when}", hint), after_s)
        if status >= 500:
            hint = "The provider has a failure: try again later."
            raise _TryAgain(
                CadError("08006", f"{self._where} failed with HTTP {status}", hint), _retry_after_s(response)
            )
        if status in (401, 403):
            hint = f"Check the key in {self._spec.key_env or 'key_env'}, and what it may be used for."
            raise CadError("28000", f"{self._where} refused the key (HTTP {status})", hint)
        if 300 <= status < 400:
            hint = "Redirects are not followed: the key would go along. Give the address that it leads to."
            raise CadError("22023", f"{self._where} leads elsewhere (HTTP {status})", hint)
        hint = "Check url, model and modalities of the encoder, and the length of the text."
        raise CadError("22023", f"{self._where} refused the request (HTTP {status})", hint, self._quoted(body))

    def _quoted(self, body: bytes) -> str:
        """The beginning of what the provider said, in one line and without the key."""
        said = " ".join(body[: 1 << 16].decode("utf-8", "replace").split())
        return (said.replace(self._key, "…") if self._key else said)[:_QUOTED]

    def _rows(self, answer: Any, n: int) -> Matrix:
        try:
            listed = self._dialect.vectors(answer)
            by_index = {entry["index"]: np.asarray(entry["embedding"], np.float64) for entry in listed}
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._malformed("something else than embeddings") from None
        if len(listed) != n or by_index.keys() != set(range(n)):
            raise self._malformed(f"{len(listed)} embeddings with indices {_short(by_index)} for {n} inputs")
        for vector in by_index.values():
            if vector.shape != (self.dim,):
                raise CadError(
                    "22023",
                    f"the space has {self.dim} dimensions, but {self.version} makes vectors of {vector.size}",
                    f"Make the space anew with select cad.add_space(…, {vector.size}, 'http', …).",
                )
        return unit_rows(np.stack([by_index[index] for index in range(n)]), self.version)


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        return urllib3.Retry().get_retry_after(response)
    except InvalidHeader:
        return None


def _line(error: HTTPError) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_QUOTED]}"


def _short(indices: Mapping[Any, Any]) -> str:
    return ", ".join(str(index)[:10] for index in list(indices)[:5]) or "none"


def _data_url(picture: NDArray[np.uint8]) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
