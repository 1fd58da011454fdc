"""A provider of embeddings on a free port of this machine that answers what the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from service_doubles.space import vector_of


@dataclass(frozen=True)
class Reply:
    """What is sent back: a status, headers, and a body, as JSON where it is not bytes. `promised` bytes may be more."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Provider:
    """Answers with `replies` in their order, then with `otherwise` for ever. A reply may wait for `let`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.replies: list[Reply] = []
        self.otherwise: Callable[[dict[str, Any]], Reply] = embeddings
        self.let = threading.Event()
        self.let.set()
        self._lock = threading.Lock()

    def reply(self, received: Received) -> Reply:
        with self._lock:
            self.received.append(received)
            scripted = self.replies.pop(0) if self.replies else None
        self.let.wait(60)
        return scripted or self.otherwise(received.body)


def contents(body: dict[str, Any]) -> list[str]:
    """What is to be embedded, in either dialect."""
    listed = body["input"]["contents"] if isinstance(body["input"], dict) else body["input"]
    return [item if isinstance(item, str) else next(iter(item.values())) for item in listed]


def vectors(texts: Iterable[str], dim: int = 8) -> list[list[float]]:
    """Not of unit length, as providers may send them."""
    return [(7 * vector_of(text.encode())[:dim]).tolist() for text in texts]


def listed(rows: Iterable[list[Any]]) -> list[dict[str, Any]]:
    """Embeddings with their index, in the wrong order."""
    return [{"index": index, "embedding": row} for index, row in enumerate(rows)][::-1]


def embeddings(body: dict[str, Any]) -> Reply:
    """What a provider without troubles answers."""
    made = listed(vectors(contents(body)))
    return Reply({"output": {"embeddings": made}} if isinstance(body["input"], dict) else {"data": made})


def unit(text: str, dim: int = 8) -> np.ndarray[Any, Any]:
    """The vector that is to come of a text."""
    row = np.array(vectors([text], dim)[0])
    return row / np.linalg.norm(row)


@contextmanager
def provider() -> Iterator[Provider]:
    """One that listens until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = running.reply(Received(self.path, dict(self.headers), body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content) if reply.promised is None else reply.promised))
            self.end_headers()
            self.wfile.write(reply.content)
            self.close_connection = reply.promised is not None

        def log_message(self, *_: Any) -> None:
            """Nothing: what was received is in `Provider.received`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Provider(f"http://127.0.0.1:{server.server_port}/v1/embeddings")
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield running
    finally:
        running.let.set()
        server.shutdown()
        server.server_close()
        thread.join()
