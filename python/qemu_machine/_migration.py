"""What is known of guests that were saved, moved or restored."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence


class MigrationReport(NamedTuple):
    """A guest that was saved, loaded or moved."""

    #: The states, by their names in QEMU.
    states: List[str]
    #: How long it took, in seconds; ``None`` if QEMU does not report it.
    total_time: Optional[float]
    #: How long the guest was paused, in seconds; ``None`` if QEMU does not report it.
    downtime: Optional[float]
    #: How much of the guest's memory was sent; ``None`` if QEMU does not report it.
    transferred_bytes: Optional[int]


class Snapshot(NamedTuple):
    """A snapshot in the disks of a machine."""

    #: Its name.
    name: str
    #: The size of the guest's memory and devices. With 0, it has only the disks.
    memory_bytes: int
    #: When it was taken, in seconds since 1970, by the host's clock.
    taken: float
    #: How long the guest had run, in seconds.
    guest_clock: float
    #: The names of the nodes of the disks that have it.
    disks: List[str]


def nodes(disks: Optional[Sequence[str]]) -> Optional[List[str]]:
    """The names of the nodes of disks, as the Rust part takes them."""
    if isinstance(disks, str):
        raise TypeError("disks is a list of names of nodes")
    return None if disks is None else list(disks)
