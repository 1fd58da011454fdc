"""A language model that does what the test says: an HTTP server that answers `/v1/chat/completions` from a script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Step:
    """One answer: `says` makes the content of the message out of the texts asked for; or a plain body."""

    says: Answer = lambda texts: json.dumps([f"译：{text}" for text in texts], ensure_ascii=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_s: float = 0.0
    cut: bool = False
    """Whether the connection ends in the middle of the answer."""


class ScriptedModel:
    """Answers with `steps` in turn, then as the plain Step does; `asked` holds the texts of each request."""

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self.steps = list(steps)
        self.asked: list[list[str]] = []
        self.authorizations: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = json.loads(request["messages"][-1]["content"])
                model.asked.append(texts)
                model.authorizations.append(self.headers["Authorization"])
                step = model.steps.pop(0) if model.steps else Step()
                self._answer(step, texts)

            def _answer(self, step: Step, texts: list[str]) -> None:
                if step.delay_s:
                    time.sleep(step.delay_s)
                message = {"choices": [{"message": {"role": "assistant", "content": step.says(texts)}}]}
                body = json.dumps(message).encode() if step.body is None else step.body
                self.send_response(step.status if self.path == "/v1/chat/completions" else 404)
                for name, value in {**step.headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if step.cut else body)

            def log_message(self, format: str, *args: object) -> None:
                """Not on the terminal."""

        return Handler
