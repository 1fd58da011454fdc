"""The front of the encoder service (`pgcad serve`): connections, requests, start and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pgcad.client import ServiceError, pack
from pgcad.encoders.encoder import Encoder
from pgcad.errors import CadError
from pgcad.service.backend import ServiceBackend
from pgcad.service.config import ServiceConfig, parse
from pgcad.service.dispatch import OPERATIONS, dispatch
from pgcad.service.frames import ByteBudget, Frame, error_header, payload_bytes, receive
from pgcad.service.listener import listening_socket
from pgcad.service.logs import Log
from pgcad.service.parts import POINTS
from pgcad.service.pool import Pool, WorkerLimits
from pgcad.service.process import keep_freed_memory
from pgcad.service.resident import RESIDENT_OPERATIONS
from pgcad.service.supervisor import supervise

PIPELINE_LIMIT = 64
PAYLOAD_BUDGET = 1 << 30
FAREWELL_S = 2.0
EX_TEMPFAIL, EX_CONFIG = 75, 78
CONFIGURATION = ("22023", "42501", "55000")
"""What starting again does not mend: a wrong option, a folder of somebody else's, weights that do not fit."""
STOPPING = CadError("57P01", "the encoder service is shutting down", "Try again in a moment.")


class Front:
    """Reads requests from connections and writes their answers, in the order in which they are ready."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._backend: asyncio.Future[ServiceBackend] = asyncio.get_running_loop().create_future()
        self._budget = ByteBudget(PAYLOAD_BUDGET)
        self._connections: set[asyncio.StreamWriter] = set()
        self._requests: set[asyncio.Task[None]] = set()
        self._stopping = False

    def ready(self, backend: ServiceBackend) -> None:
        """From now on requests are carried out; those that came before have waited."""
        self._backend.set_result(backend)

    async def stop(self, grace_s: float) -> None:
        """Refuse what comes, finish what is in hand within `grace_s`, answer the rest with 57P01.

        A peer that does not read its answers is cut off.
        """
        self._stopping = True
        if self._backend.done():
            self._backend.result().status = "stopping"
        if self._requests:
            await asyncio.wait(self._requests, timeout=grace_s)
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests, timeout=FAREWELL_S)
        if self._backend.done():
            self._backend.result().close()
        if self._requests:
            for writer in self._connections:
                writer.transport.abort()
        await asyncio.gather(*self._requests, return_exceptions=True)
        for writer in self._connections:
            writer.close()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the peer closes it or sends a malformed frame."""
        self._connections.add(writer)
        requests: set[asyncio.Task[None]] = set()
        slots = asyncio.Semaphore(PIPELINE_LIMIT)
        try:
            while await slots.acquire() and (frame := await receive(reader, self._budget)) is not None:
                request = asyncio.create_task(self._answer(frame, writer))
                # Not in the task itself: one that is cancelled before its first step runs nothing of its own.
                request.add_done_callback(partial(self._finished, slots, payload_bytes(frame.payloads)))
                for group in (requests, self._requests):
                    group.add(request)
                    request.add_done_callback(group.discard)
                del frame  # an idle connection must not keep the files of its last request
        except CadError as malformed:
            self._log("warning", "malformed_frame", sqlstate=malformed.sqlstate, reason=malformed.message)
            with contextlib.suppress(ConnectionError):
                writer.write(pack({"id": None, **error_header(malformed)}))
                await writer.drain()
        finally:
            if not self._stopping:  # the client has gone: nobody waits for these any more
                for request in requests:
                    request.cancel()
                writer.close()
                self._connections.discard(writer)

    async def _answer(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        answer = await self._outcome(frame)
        if not writer.is_closing():
            writer.write(answer)
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    def _finished(self, slots: asyncio.Semaphore, size: int, request: asyncio.Task[None]) -> None:
        slots.release()
        self._budget.release(size)

    async def _outcome(self, frame: Frame) -> bytes:
        """The packed answer to a request, be it a result or an error."""
        started = time.monotonic()
        op, identity = str(frame.header.get("op")), frame.header.get("id")
        header: dict[str, Any]
        payloads: list[bytes] = []
        try:
            if self._stopping:
                raise STOPPING
            header, payloads = await self._dispatch(op, frame)
            answer = pack({**header, "ok": True, "id": identity}, payloads)
            error = None
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            error = STOPPING
        except CadError as failure:
            error = failure
        except ServiceError as unsendable:
            error = CadError(unsendable.sqlstate, f"the answer does not fit: {unsendable.message}")
        except Exception as failure:  # the client gets it, the service lives on
            self._log("error", "unexpected_error", op=op, traceback=traceback.format_exc())
            hint = "This is a defect of pgcad: see the log of `pgcad serve`."
            error = CadError("XX000", f"the encoder service failed: {type(failure).__name__}", hint, str(failure))
        if error is not None:
            answer = pack({**error_header(error), "id": identity})
        self._log(
            "warning" if error else "debug",
            "request",
            op=op,
            ms=round(1000 * (time.monotonic() - started), 1),
            bytes_in=payload_bytes(frame.payloads),
            bytes_out=payload_bytes(payloads),
            **({"sqlstate": error.sqlstate, "reason": error.message} if error else {}),
        )
        return answer

    async def _dispatch(self, op: str, frame: Frame) -> tuple[dict[str, Any], list[bytes]]:
        if op == "health" and not self._backend.done():
            return {"status": "starting"}, []
        backend = await asyncio.shield(self._backend)
        known = {"health"} | OPERATIONS.keys() | RESIDENT_OPERATIONS.keys()
        backend.requests[op if op in known else "other"] += 1
        return await dispatch(op, frame.header, frame.payloads, backend)


async def serve(config: ServiceConfig, load_space: Callable[[], Encoder]) -> None:
    """Serve until SIGTERM or SIGINT. Raises CadError when the socket, the weights or the workers are not to be had."""
    log = Log(config.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    limits = WorkerLimits(config.worker_memory_mb, config.worker_jobs)
    pool = Pool(config.workers, limits, config.queue_limit, log)
    async with listening_socket(config.socket, config.group, config.grace_s) as listener:
        front = Front(log)
        server = await asyncio.start_unix_server(front.connected, sock=listener, limit=1 << 20)
        started = time.monotonic()
        starting = asyncio.gather(asyncio.to_thread(load_space), pool.start())
        try:
            if await _unless(stop, starting):
                space = starting.result()[0]
                front.ready(ServiceBackend(space, pool, config, log))
                log(
                    "info",
                    "ready",
                    socket=str(config.socket),
                    version=space.version,
                    workers=config.workers,
                    ms=round(1000 * (time.monotonic() - started)),
                )
                notify_systemd("READY=1")
                await stop.wait()
            log("info", "stopping")
            notify_systemd("STOPPING=1")
            server.close()
            await front.stop(config.grace_s)
        finally:
            await pool.stop()
    log("info", "stopped")


async def _unless(stop: asyncio.Event, work: asyncio.Future[Any]) -> bool:
    """Wait for `work`; False when `stop` came first. Raises what `work` raises."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, work}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if work.done():
        work.result()
        return True
    work.cancel()
    return False


def notify_systemd(state: str) -> None:
    """Tell systemd about a change of state (sd_notify(3)) when it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def load_cad_space(config: ServiceConfig) -> Encoder:
    """The trained encoders, on the device asked for; each has run once, so that the first query pays for nothing."""
    # Threads that spin while they wait would take the cores from the geometry workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory(256 << 20)
    import torch

    from pgcad.encoders.space import CadSpace

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    space = CadSpace.load(config.weights, None if config.device == "auto" else config.device)
    space.embed_text(["warm-up"])
    space.embed_image([np.zeros((224, 224, 3), np.uint8)])
    space.embed_points(np.random.default_rng(0).random((1, *POINTS), np.float32))
    return space


def main(
    arguments: Sequence[str] | None = None,
    load_space: Callable[[ServiceConfig], Encoder] = load_cad_space,
    module: str = __spec__.name,
) -> int:
    """`pgcad serve`: 0 after a clean shutdown, 78 when it cannot start as configured, 75 when it cannot start now.

    Under --supervise, `module` is what `python -m` starts, and starts again.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    config = parse(arguments)
    if config.supervise:
        rest = [word for word in arguments if word != "--supervise"]
        return supervise([sys.executable, "-m", module, *rest], Log(config.log_level))
    try:
        asyncio.run(serve(config, lambda: load_space(config)))
    except CadError as error:
        fields = {"sqlstate": error.sqlstate, "reason": error.message, "detail": error.detail, "hint": error.hint}
        Log()("error", "cannot_start", **fields)
        return EX_CONFIG if error.sqlstate in CONFIGURATION else EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
