"""What a database backend knows of the encoder service: frames over a Unix socket, cancels, errors.

Standard library only and self-contained, because `extensions/build.py` inlines this file into PL/Python bodies.
See docs/design.md, "Protocol, version 1".
"""

import json
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterable, MutableMapping
from typing import Any

PROTOCOL = 1
HEADER_LIMIT = 1 << 20
PAYLOAD_LIMIT = 512 << 20
POLL_MS = 100


class ServiceError(Exception):
    """A failed request: a standard SQLSTATE, what was wrong, and what to do next."""

    def __init__(self, sqlstate: str, message: str, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.sqlstate, self.message, self.detail, self.hint = sqlstate, message, detail, hint


def pack(header: dict[str, Any], payloads: Iterable[bytes] = ()) -> bytes:
    """One frame: header length (uint32, big-endian), header as JSON, payloads. Raises ServiceError 54000."""
    bodies = list(payloads)
    sizes = [len(body) for body in bodies]
    text = json.dumps({**header, "v": PROTOCOL, "payloads": sizes}, ensure_ascii=False).encode("utf-8", "replace")
    if len(text) > HEADER_LIMIT:
        raise ServiceError(
            "54000",
            f"the text of the request is {len(text):,} bytes; the limit is {HEADER_LIMIT:,}",
            hint="Shorten the text, or send it in smaller batches.",
        )
    if sum(sizes) > PAYLOAD_LIMIT:
        raise ServiceError(
            "54000",
            f"the files of the request are {sum(sizes):,} bytes; the limit is {PAYLOAD_LIMIT:,}",
            hint="Send a smaller file, or fewer at a time.",
        )
    return b"".join([struct.pack(">I", len(text)), text, *bodies])


class Inbox:
    """Frames out of a stream of bytes. A header is parsed once, however many pieces its payloads come in."""

    def __init__(self, buffer: bytearray | None = None) -> None:
        self.buffer = bytearray() if buffer is None else buffer
        self._head: tuple[dict[str, Any], list[int], int] | None = None

    def take(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """Take one whole frame off the front; None while it is incomplete. Raises ServiceError 08P01."""
        self._head = self._head or _head(self.buffer)
        if self._head is None:
            return None
        header, sizes, end = self._head
        if len(self.buffer) < end + sum(sizes):
            return None
        payloads = []
        for size in sizes:
            payloads.append(bytes(self.buffer[end : end + size]))
            end += size
        del self.buffer[:end]
        self._head = None
        return header, payloads


def _head(buffer: bytearray) -> tuple[dict[str, Any], list[int], int] | None:
    """Header, sizes of the payloads and where they begin; None while the header is incomplete."""
    if len(buffer) < 4:
        return None
    end = 4 + struct.unpack_from(">I", buffer)[0]
    if end - 4 > HEADER_LIMIT:
        raise ServiceError("08P01", "the encoder service sent an oversized header", hint="Check pgcad.socket.")
    if len(buffer) < end:
        return None
    try:
        header = json.loads(buffer[4:end])
        version, sizes = header["v"], header["payloads"]
    except (ValueError, KeyError, TypeError):
        raise ServiceError("08P01", "the encoder service sent a malformed header", hint="Check pgcad.socket.") from None
    if version != PROTOCOL:
        raise ServiceError(
            "08P01",
            f"the encoder service speaks protocol {version}, the extension {PROTOCOL}",
            hint="Install the same version of pgcad on both sides and restart `pgcad serve`.",
        )
    return header, sizes, end


def unpack(buffer: bytearray) -> tuple[dict[str, Any], list[bytes]] | None:
    """Take one whole frame off the front of `buffer`; None while it is incomplete. Raises ServiceError 08P01."""
    return Inbox(buffer).take()


def call(
    socket_path: str,
    op: str,
    header: dict[str, Any],
    payloads: Iterable[bytes],
    timeout_ms: float,
    poll: Callable[[], Any],
    kept: MutableMapping[str, Any],
) -> tuple[dict[str, Any], list[bytes]]:
    """Send one request and wait for its answer. Arguments as in `call_many`; raises ServiceError."""
    answers = list(call_many(socket_path, [(op, header, payloads)], timeout_ms, poll, kept))
    _, answer, bodies = answers[0]
    if isinstance(answer, ServiceError):
        raise answer
    return answer, bodies


def call_many(
    socket_path: str,
    requests: Iterable[tuple[str, dict[str, Any], Iterable[bytes]]],
    timeout_ms: float,
    poll: Callable[[], Any],
    kept: MutableMapping[str, Any],
) -> Generator[tuple[int, dict[str, Any] | ServiceError, list[bytes]], None, None]:
    """Pipeline requests `(op, header, payloads)` over one connection; yield `(index, answer or error, payloads)`.

    Requests are drawn one at a time, as the service takes them; answers come in any order. `timeout_ms` is the
    longest wait for the next answer. `poll` runs every 100 ms of waiting and cancels by raising. `kept` holds one idle
    connection per path between calls (GD in PL/Python): it is taken out here and put back only when every answer has
    been read, so a connection with an answer still to come is never used again. Raises ServiceError 08001
    (unreachable), 08006 (lost), 08P01 (protocol), 57014 (timeout).
    """
    key = "pgcad connection " + socket_path
    clock = _Clock(timeout_ms, poll)
    connection = kept.pop(key, None)
    reused = connection is not None
    if connection is None:
        connection = _connect(socket_path, clock)
    unsent, unanswered = enumerate(requests), set[int]()
    outgoing, inbox, untouched = memoryview(b""), Inbox(), True
    try:
        while True:
            if not outgoing and (following := next(unsent, None)) is not None:
                index, (op, header, payloads) = following
                try:
                    outgoing = memoryview(pack({**header, "op": op, "id": index}, payloads))
                except ServiceError as refused:
                    yield index, refused, []
                    continue
                unanswered.add(index)
            if not unanswered:
                break
            try:
                outgoing, untouched = _exchange(connection, outgoing, inbox.buffer, clock), False
            except ConnectionError as lost:
                connection.close()
                if not (reused and untouched):
                    raise ServiceError(
                        "08006",
                        "the encoder service went away before it answered",
                        str(lost),
                        "Try again; see the log of `pgcad serve` if it happens twice.",
                    ) from None
                connection, reused = _connect(socket_path, clock), False
                continue
            while (frame := inbox.take()) is not None:
                answer, bodies = frame
                if answer.get("id") not in unanswered:
                    raise _refusal(answer) or ServiceError("08P01", "the encoder service answered a request never made")
                unanswered.remove(answer["id"])
                yield answer["id"], _refusal(answer) or answer, bodies
                clock.restart()
    except BaseException:
        connection.close()
        raise
    if outgoing or inbox.buffer:  # refused before it had read the whole request
        connection.close()
    else:
        kept[key] = connection


class _Clock:
    """How long to wait, and when to look for a cancel."""

    def __init__(self, timeout_ms: float, poll: Callable[[], Any]) -> None:
        self.timeout_ms, self.poll, self.polled = timeout_ms, poll, time.monotonic()
        self.restart()

    def restart(self) -> None:
        self.deadline = time.monotonic() + self.timeout_ms / 1000

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self.polled + POLL_MS / 1000:
            self.polled = now
            self.poll()
        if now >= self.deadline:
            raise ServiceError(
                "57014",
                f"the encoder service did not answer within {self.timeout_ms:.0f} ms",
                hint="Raise pgcad.timeout_ms (for ingest pgcad.ingest_timeout_ms), or look at cad.encoder_health().",
            )


def _connect(path: str, clock: _Clock) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        while True:
            try:
                connection.connect(path)
                return connection
            except BlockingIOError:  # its backlog is full
                time.sleep(0.01)
                clock.tick()
    except OSError as error:
        connection.close()
        raise ServiceError(
            "08001",
            f"cannot reach the encoder service at {path}",
            str(error),
            "Start the encoder service with pgcad serve (or make up).",
        ) from None
    except BaseException:
        connection.close()
        raise


def _exchange(connection: socket.socket, outgoing: memoryview, incoming: bytearray, clock: _Clock) -> memoryview:
    """Wait at most 100 ms, then send and receive what is possible; returns what is left to send."""
    waiter = select.poll()
    waiter.register(connection, select.POLLIN | (select.POLLOUT if outgoing else 0))
    events = waiter.poll(POLL_MS)
    clock.tick()
    for _, event in events:
        if event & ~select.POLLOUT:  # read first: a refusal may wait behind a closed connection
            received = connection.recv(1 << 20)
            if not received:
                raise ConnectionResetError("connection closed")
            incoming += received
        elif event & select.POLLOUT:
            outgoing = outgoing[connection.send(outgoing) :]
    return outgoing


def _refusal(answer: dict[str, Any]) -> ServiceError | None:
    if answer.get("ok"):
        return None
    error = answer.get("error") or {}
    return ServiceError(
        error.get("sqlstate", "XX000"),
        error.get("message", "the encoder service failed"),
        error.get("detail") or "",
        error.get("hint") or "",
    )


def milliseconds(setting: str, text: str) -> int:
    """The value of a setting that is a time. Raises ServiceError 22023 for anything but a whole number above 0."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise ServiceError(
            "22023",
            f"{setting} cannot be {text[:100]!r}",
            hint="Give milliseconds as a whole number above 0 and without a unit, such as 30000.",
        )
    return int(text)


def vector_literal(data: bytes) -> str:
    """float32 little-endian bytes as the text form of a pgvector value; six digits are more than halfvec keeps."""
    numbers = struct.unpack(f"<{len(data) // 4}f", data)
    return "[" + ("%.6g," * len(numbers) % numbers)[:-1] + "]"


def vector_literals(matrix: bytes, dim: int) -> list[str]:
    """The rows of a float32 matrix, `dim` columns each, as text forms of pgvector values."""
    return [vector_literal(matrix[start : start + 4 * dim]) for start in range(0, len(matrix), 4 * dim)]
