"""Machines for coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional

from ._agent import AsyncGuestAgent
from ._console import AsyncConsole
from ._display import AsyncDisplay
from ._input import AsyncKeyboard, AsyncMouse
from ._limits import DEFAULT
from ._migration import nodes
from ._monitor import AsyncEvents, AsyncQmp
from ._qtest import AsyncQtest

if TYPE_CHECKING:
    import os
    from typing import Coroutine, Sequence, Union

    from ._display import Screenshot
    from ._limits import Limit
    from ._machine import Machine
    from ._migration import MigrationReport, Snapshot
    from ._native import Identity
    from ._report import ExitReport
    from ._template import Template

    Path = Union[str, os.PathLike[str]]


class AsyncMachine:
    """:class:`Machine` for coroutines."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def qmp(self) -> AsyncQmp:
        """The monitor."""
        return AsyncQmp(self._machine._vm().monitor)

    @property
    def console(self) -> AsyncConsole:
        """The console, if it has one."""
        return AsyncConsole(self._machine._vm().console)

    @property
    def agent(self) -> AsyncGuestAgent:
        """The guest agent, if it has one."""
        return AsyncGuestAgent(self._machine._vm().agent)

    @property
    def qtest(self) -> AsyncQtest:
        """The qtest channel, if it has one."""
        return AsyncQtest(self._machine._vm().qtest)

    @property
    def keyboard(self) -> AsyncKeyboard:
        """The keyboard."""
        return AsyncKeyboard(self._machine._vm().input)

    @property
    def mouse(self) -> AsyncMouse:
        """The mouse."""
        return AsyncMouse(self._machine._vm().input)

    @property
    def display(self) -> AsyncDisplay:
        """The display, if it has one."""
        return AsyncDisplay(self._machine._vm().display)

    def execute(self, command: str, /, **arguments: Any) -> Coroutine[Any, Any, Any]:
        """Executes a command of QMP; short for ``qmp.execute``."""
        return self.qmp.execute(command, **arguments)

    def events(self, *names: str) -> AsyncEvents:
        """Subscribes to events with these names, or to all events."""
        return self.qmp.events(*names)

    def screenshot(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, Screenshot]:
        """A picture of the display; short for ``display.screenshot``."""
        return self._machine._vm().display.screenshot(timeout)

    async def launch(self) -> Machine:
        """Launches it now. Prefer ``async with``, which also ends it."""
        return await self._machine.__aenter__()

    async def wait(self, *, timeout: Limit = DEFAULT) -> ExitReport:
        """Waits until it ends by itself, and returns the report."""
        vm = self._machine._vm()
        return self._machine._reported(await vm.wait(timeout))

    async def shutdown(
        self, *, powerdown: Optional[float] = None, after_guest: Optional[float] = None
    ) -> ExitReport:
        """Ends it: asks QEMU, and kills it if that does not help."""
        vm = self._machine._vm()
        self._machine._is_reported = True
        return await vm.shutdown(powerdown, after_guest)

    async def kill(self) -> ExitReport:
        """Kills it. What the guest has not written to its disks is lost."""
        vm = self._machine._vm()
        self._machine._is_reported = True
        return await vm.kill()

    def prepare_wake(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Prepares the guest for :meth:`wake`, before it is frozen."""
        return self._machine._vm().prepare_wake(timeout)

    async def freeze(
        self,
        *,
        keep_at: Optional[Path] = None,
        timeout: Limit = DEFAULT,
    ) -> Template:
        """Ends it, and makes its guest a template."""
        vm = self._machine._vm()
        self._machine._is_reported = True
        frozen = await vm.freeze(keep_at, timeout)
        # Most programs need no templates.
        from ._template import Template

        return Template(frozen)

    def wake(
        self,
        *,
        identity: Optional[Identity] = None,
        hostname: Optional[str] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Identity]:
        """Gives the Linux guest of a clone its own identity, and the right time."""
        return self._machine._vm().wake(identity, hostname, timeout)

    def migrate_to(
        self, other: Machine, *, live: bool = False, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, MigrationReport]:
        """Moves the guest to another machine, which was launched with ``incoming``."""
        return self._machine._vm().migrate_to(other._vm(), live, timeout)

    def save_to(
        self, path: Path, *, live: bool = False, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, MigrationReport]:
        """Saves the guest with its memory to a file, but without its disks."""
        return self._machine._vm().save_to(path, live, timeout)

    def load_from(
        self, path: Path, *, paused: bool = False, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, MigrationReport]:
        """Loads a guest that was saved. This machine was launched with ``incoming``."""
        return self._machine._vm().load_from(path, paused, timeout)

    def save_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, None]:
        """Saves the guest with its memory and its disks, as a snapshot in the disks."""
        return self._machine._vm().save_snapshot(name, nodes(disks), timeout)

    def load_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, None]:
        """Restores a snapshot. The guest then runs if it ran before this call."""
        return self._machine._vm().load_snapshot(name, nodes(disks), timeout)

    def delete_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, None]:
        """Deletes a snapshot from all disks that have it."""
        return self._machine._vm().delete_snapshot(name, nodes(disks), timeout)

    def snapshots(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, List[Snapshot]]:
        """The snapshots in the writable disks, the oldest first."""
        return self._machine._vm().snapshots(timeout)

    def forwarded_port(
        self, network: str, guest_port: int, *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, int]:
        """The TCP port of the host that is forwarded to a port of the guest."""
        return self._machine._vm().forwarded_port(network, guest_port, timeout)
