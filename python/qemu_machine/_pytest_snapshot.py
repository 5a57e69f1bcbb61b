"""The fixture that brings a shared machine back to one state for each test."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Optional, Tuple

if TYPE_CHECKING:
    from ._machine import Machine

#: The name of the snapshots in the disks.
NAME = "qemu-snapshot"


class Snapshots:
    """The snapshots of the machines of this run."""

    def __init__(self) -> None:
        #: For each machine: its process, and whether its guest ran.
        self._taken: weakref.WeakKeyDictionary[Machine, Tuple[Optional[int], bool]] = (
            weakref.WeakKeyDictionary()
        )

    def restore(self, vm: Machine) -> Machine:
        """Saves the guest at the first call for a machine. Each later call brings it
        back to that state."""
        pid, ran = self._taken.get(vm, (None, False))
        if pid is None or pid != vm.pid and vm.is_running:
            self._take(vm)
            return vm
        vm.load_snapshot(NAME)
        # QEMU leaves it as it was before the call.
        if vm.qmp.execute("query-status")["running"] != ran:
            vm.qmp.execute("cont" if ran else "stop")
        return vm

    def _take(self, vm: Machine) -> None:
        if any(it.name == NAME for it in vm.snapshots()):
            # Of an earlier run with the same disk.
            vm.delete_snapshot(NAME)
        ran = vm.qmp.execute("query-status")["running"]
        vm.save_snapshot(NAME)
        self._taken[vm] = (vm.pid, ran)
