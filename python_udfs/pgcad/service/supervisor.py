"""`pgcad serve --supervise`: start the service again when it crashes, for hosts without systemd."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from pgcad.service.logs import Log
from pgcad.service.process import die_with_parent

FIRST_DELAY_S, LAST_DELAY_S = 0.2, 30.0
STABLE_S = 60.0
CLEAN_EXITS = (0, 2, 78)  # finished, wrong arguments, wrong configuration: starting again would not help


def supervise(command: Sequence[str], log: Log) -> int:
    """Run `command` until it ends by itself or SIGTERM or SIGINT comes; returns its last exit status.

    Crashes in quick succession wait 0.2 s, 0.4 s … 30 s; a minute of service forgives them.
    """
    stop = threading.Event()
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: object) -> None:
        stop.set()
        if child is not None:
            child.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    delay_s = FIRST_DELAY_S
    while True:
        started = time.monotonic()
        child = subprocess.Popen(command, preexec_fn=_end_with_supervisor)  # no threads here
        if stop.is_set():
            child.terminate()
        status = child.wait()
        if stop.is_set() or status in CLEAN_EXITS:
            return status
        if time.monotonic() - started > STABLE_S:
            delay_s = FIRST_DELAY_S
        log("error", "service_crashed", status=status, restart_in_s=delay_s)
        if stop.wait(delay_s):
            return 0
        delay_s = min(2 * delay_s, LAST_DELAY_S)


def _end_with_supervisor() -> None:
    die_with_parent(signal.SIGTERM)
