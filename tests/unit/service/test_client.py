"""The client against servers that behave well, late, badly or not at all."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pgcad import client
from pgcad.client import ServiceError, call, call_many, pack, unpack

Handler = Callable[[socket.socket], None]
Request = tuple[str, dict[str, Any], list[bytes]]


class Cancelled(Exception):
    """What `plpy.execute` raises when a query was cancelled."""


@pytest.fixture
def socket_path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pgcad-") as folder:
        yield str(Path(folder, "s"))


class OneByOne:
    """A server in a thread: the nth connection is served by the nth handler."""

    def __init__(self, path: str, *handlers: Handler) -> None:
        Path(path).unlink(missing_ok=True)
        self.accepted = 0
        self.closed = threading.Semaphore(0)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._run, args=(handlers,), daemon=True).start()

    def _run(self, handlers: tuple[Handler, ...]) -> None:
        for handler in handlers:
            connection, _ = self._listener.accept()
            self.accepted += 1
            with connection, contextlib.suppress(ConnectionError):
                handler(connection)
            self.closed.release()
        self._listener.close()


def request_from(connection: socket.socket, incoming: bytearray) -> tuple[dict[str, Any], list[bytes]] | None:
    while (frame := unpack(incoming)) is None:
        received = connection.recv(1 << 16)
        if not received:
            return None
        incoming += received
    return frame


def echo(connection: socket.socket) -> None:
    """Answers every request with its own header and payloads."""
    incoming = bytearray()
    while (frame := request_from(connection, incoming)) is not None:
        header, payloads = frame
        connection.sendall(pack({**header, "ok": True}, payloads))


def silent(connection: socket.socket) -> None:
    """Reads and never answers, until the client goes."""
    while connection.recv(1 << 16):
        pass


def ask(path: str, kept: dict[str, Any], poll: Callable[[], Any] = lambda: None, timeout_ms: float = 5000) -> Any:
    return call(path, "echo", {"text": "六角螺母"}, [b"abc"], timeout_ms, poll, kept)


def test_an_answer_comes_back_and_its_connection_is_used_again(socket_path: str) -> None:
    server, kept = OneByOne(socket_path, echo), dict[str, Any]()
    for _ in range(3):
        header, payloads = ask(socket_path, kept)
        assert (header["text"], header["op"], payloads) == ("六角螺母", "echo", [b"abc"])
    assert server.accepted == 1


def test_pipelined_answers_may_come_in_any_order(socket_path: str) -> None:
    def reversing(connection: socket.socket) -> None:
        incoming = bytearray()
        frames = [request_from(connection, incoming) for _ in range(3)]
        for header, payloads in filter(None, reversed(frames)):
            connection.sendall(pack({**header, "ok": True}, payloads))

    OneByOne(socket_path, reversing)
    requests: list[Request] = [("echo", {}, [bytes([65 + index])]) for index in range(3)]
    answers = list(call_many(socket_path, requests, 5000, lambda: None, {}))
    assert [(index, payloads) for index, _, payloads in answers] == [(2, [b"C"]), (1, [b"B"]), (0, [b"A"])]


def test_large_requests_and_answers_pass_each_other(socket_path: str) -> None:
    OneByOne(socket_path, echo)
    bodies = [bytes([index]) * (3 << 20) for index in range(4)]
    answers = list(call_many(socket_path, [("echo", {}, [body]) for body in bodies], 20_000, lambda: None, {}))
    assert sorted(answer[0] for answer in answers) == [0, 1, 2, 3]
    assert all(payloads == [bodies[index]] for index, _, payloads in answers)


def test_an_oversized_request_fails_alone(socket_path: str) -> None:
    OneByOne(socket_path, echo)
    requests: list[Request] = [("echo", {"text": "x" * (1 << 20)}, []), ("echo", {"text": "y"}, [])]
    (_, refused, _), (_, answer, _) = sorted(call_many(socket_path, requests, 5000, lambda: None, {}))
    assert isinstance(refused, ServiceError) and refused.sqlstate == "54000"
    assert isinstance(answer, dict) and answer["text"] == "y"


def test_an_error_answer_is_raised_with_all_its_parts(socket_path: str) -> None:
    def refuse(connection: socket.socket) -> None:
        header, _ = request_from(connection, bytearray()) or ({}, [])
        error = {"sqlstate": "22023", "message": "m", "detail": "d", "hint": "h"}
        connection.sendall(pack({"id": header["id"], "ok": False, "error": error}))

    OneByOne(socket_path, refuse)
    with pytest.raises(ServiceError) as failure:
        ask(socket_path, {})
    raised = failure.value
    assert (raised.sqlstate, raised.message, raised.detail, raised.hint) == ("22023", "m", "d", "h")


def test_no_service_is_08001_with_a_hint(socket_path: str) -> None:
    with pytest.raises(ServiceError) as absent:
        ask(socket_path, {})
    socket.socket(socket.AF_UNIX).bind(socket_path)  # a socket file without a listener
    with pytest.raises(ServiceError) as refused:
        ask(socket_path, {})
    assert absent.value.sqlstate == refused.value.sqlstate == "08001"
    assert "pgcad serve" in absent.value.hint


def test_a_hung_service_times_out_and_its_connection_is_dropped(socket_path: str) -> None:
    server, kept = OneByOne(socket_path, silent, echo), dict[str, Any]()
    with pytest.raises(ServiceError) as failure:
        ask(socket_path, kept, timeout_ms=250)
    assert failure.value.sqlstate == "57014"
    assert not kept
    assert ask(socket_path, kept)[1] == [b"abc"]
    assert server.accepted == 2


def test_a_cancel_is_noticed_while_the_service_hangs(socket_path: str) -> None:
    OneByOne(socket_path, silent)
    kept: dict[str, Any] = {}
    polls: list[float] = []

    def poll() -> None:
        polls.append(time.monotonic())
        if len(polls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        ask(socket_path, kept, poll, timeout_ms=60_000)
    assert not kept
    assert polls[2] - polls[1] >= client.POLL_MS / 1000


def test_a_cancel_is_noticed_while_nobody_accepts(socket_path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path)
    listener.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(socket_path)  # fills the backlog

    def poll() -> None:
        raise Cancelled

    with pytest.raises(Cancelled), listener, waiting:
        ask(socket_path, {}, poll, timeout_ms=60_000)


def test_half_an_answer_is_08006_and_the_connection_is_dropped(socket_path: str) -> None:
    def half(connection: socket.socket) -> None:
        request_from(connection, bytearray())
        connection.sendall(pack({"id": 0, "ok": True}, [b"x" * 1000])[:500])

    OneByOne(socket_path, half)
    kept: dict[str, Any] = {}
    with pytest.raises(ServiceError) as failure:
        ask(socket_path, kept)
    assert failure.value.sqlstate == "08006"
    assert not kept


def test_a_restarted_service_is_found_again(socket_path: str) -> None:
    def once(connection: socket.socket) -> None:
        header, payloads = request_from(connection, bytearray()) or ({}, [])
        connection.sendall(pack({**header, "ok": True}, payloads))

    server, kept = OneByOne(socket_path, once, once), dict[str, Any]()
    ask(socket_path, kept)
    server.closed.acquire()
    assert ask(socket_path, kept)[1] == [b"abc"]
    assert server.accepted == 2


def test_abandoning_a_pipeline_drops_its_connection(socket_path: str) -> None:
    OneByOne(socket_path, echo)
    kept: dict[str, Any] = {}
    answers = call_many(socket_path, [("echo", {}, [])] * 3, 5000, lambda: None, kept)
    next(answers)
    answers.close()
    assert not kept


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack(">I", 1 << 30),
        struct.pack(">I", 4) + b"junk",
        pack({"id": 7, "ok": True}),
        pack({"id": 0, "ok": True}).replace(b'"v": 1', b'"v": 2'),
    ],
    ids=["oversized header", "not JSON", "unknown id", "other version"],
)
def test_a_broken_answer_is_a_protocol_error(socket_path: str, answer: bytes) -> None:
    def respond(connection: socket.socket) -> None:
        request_from(connection, bytearray())
        connection.sendall(answer)
        silent(connection)

    OneByOne(socket_path, respond)
    kept: dict[str, Any] = {}
    with pytest.raises(ServiceError) as failure:
        ask(socket_path, kept)
    assert failure.value.sqlstate == "08P01"
    assert not kept


def test_a_header_is_parsed_once_however_many_pieces_its_payloads_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    loads = json.loads
    monkeypatch.setattr(client.json, "loads", lambda text: parsed.append(text) or loads(text))
    inbox, frames = client.Inbox(), []
    for byte in pack({"id": 1}, [b"abc", b"de"]) + pack({"id": 2}):
        inbox.buffer.append(byte)
        if (frame := inbox.take()) is not None:
            frames.append((frame[0]["id"], frame[1]))
    assert frames == [(1, [b"abc", b"de"]), (2, [])]
    assert len(parsed) == 2
    assert not inbox.buffer


@pytest.mark.parametrize("text", ["1", "030000", "999999999"])
def test_a_time_is_a_whole_number_of_milliseconds(text: str) -> None:
    assert client.milliseconds("pgcad.timeout_ms", text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "-5", "30s", "1e3", "1.5", "٣", " 5", "9999999999", "x" * 10_000])
def test_any_other_time_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(ServiceError) as failure:
        client.milliseconds("pgcad.timeout_ms", text)
    assert failure.value.sqlstate == "22023"
    assert failure.value.message.startswith("pgcad.timeout_ms cannot be ")
    assert len(failure.value.message) < 200
    assert failure.value.hint


def test_vectors_become_literals_and_back() -> None:
    matrix = struct.pack("<4f", 0.5, -0.25, 1.0, 1e-7)
    assert client.vector_literal(matrix) == "[0.5,-0.25,1,1e-07]"
    assert client.vector_literals(matrix, 2) == ["[0.5,-0.25]", "[1,1e-07]"]
