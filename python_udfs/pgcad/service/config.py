"""The settings of `pgcad serve`."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pgcad.service.logs import LEVELS

DEFAULT_SOCKET = Path("/run/pgcad/encoder.sock")
MODELS_VARIABLE = "PGCAD_MODELS"


def models_folder() -> Path | None:
    """Where checkpoints of other encoders lie, as the environment says."""
    folder = os.environ.get(MODELS_VARIABLE)
    return Path(folder) if folder else None


@dataclass(frozen=True)
class ServiceConfig:
    """Field names are the long options of `pgcad serve`."""

    socket: Path = DEFAULT_SOCKET
    group: str | None = None
    weights: Path | None = None
    models: Path | None = field(default_factory=models_folder)
    device: str = "auto"
    workers: int = min(8, len(os.sched_getaffinity(0)))
    worker_memory_mb: int = 1500
    worker_jobs: int = 500
    resident_memory_mb: int = 2048
    queue_limit: int = 256
    file_limit_s: float = 60.0
    query_limit_s: float = 20.0
    grace_s: float = 10.0
    log_level: str = "info"
    supervise: bool = False


def parse(arguments: Sequence[str]) -> ServiceConfig:
    """The settings that command line arguments ask for; exits with 2 on a wrong one."""
    default = ServiceConfig()
    parser = argparse.ArgumentParser(
        prog="pgcad serve",
        description="Run the encoder service. SIGTERM ends it after the requests in hand.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--socket", type=Path, help="Unix socket to listen on; the database's pgcad.socket")
    add("--group", help="group that may connect, besides the user who runs the service")
    add("--weights", type=Path, help="folder of the encoders' weights, instead of those of the package")
    add("--models", type=Path, help=f"folder of the checkpoints of open_clip spaces; ${MODELS_VARIABLE} says so too")
    add("--device", help="auto, cpu or cuda; auto takes CUDA when there is one")
    add("--workers", type=_positive(int), help="geometry worker processes")
    add("--worker-memory-mb", type=_positive(int), help="memory of one worker; a file that needs more fails")
    add("--worker-jobs", type=_positive(int), help="files after which a worker is replaced by a fresh one")
    add("--resident-memory-mb", type=_positive(int), help="memory for vectors that cad.load_resident keeps here")
    add("--queue-limit", type=_positive(int), help="requests that may wait; more are refused with 53300")
    add("--file-limit-s", type=_positive(float), help="longest time to read one part for ingest")
    add("--query-limit-s", type=_positive(float), help="longest time to read one file of a query")
    add("--grace-s", type=_positive(float), help="time that requests in hand get after SIGTERM")
    add("--log-level", choices=LEVELS, help="debug logs every request")
    add("--supervise", action="store_true", help="restart the service when it crashes")
    parser.set_defaults(**{option.name: getattr(default, option.name) for option in fields(default)})
    return ServiceConfig(**vars(parser.parse_args(arguments)))


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse_number(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return number

    return parse_number
