"""A geometry worker: reads user files, one job at a time, in a process that may crash, hang or be killed.

It speaks the frames of the protocol over the socket whose descriptor is its first argument.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from pgcad.client import ServiceError, pack, unpack
from pgcad.errors import CadError
from pgcad.service.frames import error_header
from pgcad.service.process import die_with_parent, limit_memory

JOBS_MODULE = "PGCAD_WORKER_JOBS"


def main(descriptor: int, data_bytes: int) -> None:
    """Warm up, say so, then answer jobs until the front closes the socket."""
    die_with_parent()
    limit_memory(data_bytes)
    faulthandler.enable()
    os.nice(5)  # queries in the front come first
    channel = socket.socket(fileno=descriptor)
    module = importlib.import_module(os.environ.get(JOBS_MODULE, "pgcad.service.jobs"))
    module.warm()
    channel.sendall(pack({"ok": True}))
    incoming = bytearray()
    while received := channel.recv(1 << 20):
        incoming += received
        while (frame := unpack(incoming)) is not None:
            channel.sendall(_run(module.JOBS, *frame))


def _run(jobs: Mapping[str, Any], header: dict[str, Any], payloads: list[bytes]) -> bytes:
    try:
        answer, bodies = jobs[header["op"]](header, payloads)
        return pack({**answer, "ok": True}, bodies)
    except MemoryError:
        return pack(error_header(CadError("53200", "out of memory")))
    except CadError as error:
        return pack(error_header(error))
    except ServiceError as error:  # the answer does not fit into a frame
        return pack(error_header(CadError(error.sqlstate, f"too much to report of this file: {error.message}")))
    except Exception as error:  # whatever a parser raises is about this file
        traceback.print_exc()
        hint = "The file uses something pgcad does not understand; export it again or in another format."
        return pack(
            error_header(CadError("58000", f"cannot process this file: {type(error).__name__}", hint, str(error)))
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
