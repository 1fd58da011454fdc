"""What a child process decides about itself: to end with its parent, and how much memory it may take."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST_MMAP_THRESHOLD = 32 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel for `signal_number` when the parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    _libc.prctl(PR_SET_PDEATHSIG, signal_number)


def limit_memory(data_bytes: int) -> None:
    """Make allocations fail beyond `data_bytes` of private memory (RLIMIT_DATA); no core files.

    RLIMIT_AS would count the gigabytes of address space that OpenCASCADE and the OpenGL driver map and never touch.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_freed_memory(kept_bytes: int) -> None:
    """Let malloc keep up to `kept_bytes` of freed memory for itself (mallopt(3)), in one arena for all threads.

    Every batch of an encoder needs the same tens of megabytes; given back and fetched again, they cost as many page
    faults as the arithmetic costs time. The arenas of single threads are small and give everything back.
    """
    _libc.mallopt(M_ARENA_MAX, 1)
    _libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    _libc.mallopt(M_TRIM_THRESHOLD, kept_bytes)


def resident_bytes(pid: int) -> int:
    """Resident set size of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
