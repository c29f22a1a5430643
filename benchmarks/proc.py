"""What Linux says of processes: proportional memory, CPU time, and the kernel's own memory for sockets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SOCKET_SLABS = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "skbuff_head_cache", "request_sock_TCP")
"""The kernel's objects behind a TCP connection. Its dentry is left out: that cache is everybody's."""


def tree(pid: int) -> list[int]:
    """``pid`` and all processes below it."""
    found = [pid]
    for parent in found:  # it grows as we go
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def pss(pids: Iterable[int]) -> float:
    """Proportional set size of the processes together, in KiB: shared pages count once among those who share them."""
    return sum(_field(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:") for pid in pids)


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds that the processes have used, user's and system's, of all their threads, to the nanosecond."""
    spent = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def socket_slabs() -> float | None:
    """KiB that the kernel keeps for sockets of the whole machine; None where it does not say (not root)."""
    try:
        return slab_kib(Path("/proc/slabinfo").read_text())
    except OSError:
        return None


def slab_kib(slabinfo: str) -> float:
    """KiB of the objects in use behind connections, in the text of /proc/slabinfo."""
    total = 0
    for line in slabinfo.splitlines():
        words = line.split()
        if words and words[0] in SOCKET_SLABS:
            total += int(words[1]) * int(words[3])
    return total / 1024


def _field(text: str, name: str) -> float:
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))
