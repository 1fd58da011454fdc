"""Memory of a process, as the system counts it."""

from __future__ import annotations

from pathlib import Path


def private_bytes(pid: int) -> int:
    """Pages of private mappings of a process that no other process shares; OSError where /proc does not say.

    Shared buffers that only this backend has touched so far also count as private in /proc/PID/smaps_rollup, hence
    smaps and the permissions of each mapping.
    """
    private_kb, of_private_mapping = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("Private_") and of_private_mapping:
            private_kb += int(values[0])
        elif not name.endswith(":"):  # "address-address rwxp …" opens a mapping
            of_private_mapping = values[0].endswith("p")
    return private_kb << 10
