"""What a process holds of main memory, as Linux says it. Bytes are integers."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(process: int, *, most: bool = False) -> int:
    """Now, or the most it ever held. Raises `OSError` where there is no such process, or no Linux."""
    name = "VmHWM:" if most else "VmRSS:"
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)  # none: it has ended
