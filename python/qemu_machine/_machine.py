"""Machines: launched on enter, gone on exit."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from . import _native
from ._agent import GuestAgent
from ._async_machine import AsyncMachine
from ._console import Console
from ._display import Display
from ._errors import NotRunning, QemuMachineError
from ._input import Keyboard, Mouse
from ._limits import DEFAULT
from ._migration import nodes
from ._monitor import Events, Qmp
from ._options import checked
from ._qtest import Qtest

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Mapping, Sequence, Type, Union

    from typing_extensions import Literal, Self

    from ._display import Screenshot
    from ._limits import Limit
    from ._migration import MigrationReport, Snapshot
    from ._report import ExitReport
    from ._native import Identity
    from ._template import Template

    Path = Union[str, os.PathLike[str]]
    Disk = Union[str, os.PathLike[str], Mapping[str, Path]]

# The interpreter ends: so do its machines. If it is killed, the guardian of the
# Rust library ends them.
atexit.register(_native.end_all)


class Machine:
    """A virtual machine.

    Nothing runs until it is entered: ``with Machine(…) as vm``, or ``async with``,
    or :meth:`launch`. It is gone when the block ends, however it ends. If QEMU
    failed, and no call has returned or raised the report, the end of the block
    raises ``GuestCrashed``.
    """

    def __init__(
        self,
        binary: Path,
        *,
        args: Sequence[Path] = (),
        memory: Optional[str] = None,
        accel: Union[str, Sequence[str], None] = None,
        machine: Optional[str] = None,
        cpu: Optional[str] = None,
        smp: Optional[int] = None,
        kernel: Optional[Path] = None,
        initrd: Optional[Path] = None,
        append: Optional[str] = None,
        bios: Optional[Path] = None,
        firmware: Optional[_native.Firmware] = None,
        disks: Sequence[Disk] = (),
        netdev_user: Union[_native.UserNet, Sequence[_native.UserNet]] = (),
        console: Union[bool, Literal["serial", "virtio"]] = False,
        agent: bool = False,
        qtest: bool = False,
        freezable: bool = False,
        incoming: bool = False,
        name: Optional[str] = None,
        cwd: Optional[Path] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        wrapper: Optional[Sequence[Path]] = None,
        log_dir: Optional[Path] = None,
        console_log: Optional[Path] = None,
        transcript: Optional[Path] = None,
        timeout: Limit = DEFAULT,
        launch_timeout: Limit = DEFAULT,
        quit_timeout: Optional[float] = None,
    ) -> None:
        """Describes the machine.

        ``accel`` is an accelerator, or several: QEMU takes the first that works.
        Each of ``disks`` is the path of an image, or a dict of options of ``-drive``,
        such as ``{"file": "a.raw", "format": "raw", "if": "virtio"}``.
        ``console`` is read from the first serial port (or from a virtio console).
        ``timeout`` is the default limit of all operations, ``launch_timeout`` that
        of the launch. A variable of ``env`` with the value ``None`` is removed.
        ``netdev_user`` adds network cards on QEMU's user-mode network. ``freezable``
        is for :meth:`freeze`. With ``incoming``, QEMU waits for a guest, from
        :meth:`migrate_to` or :meth:`load_from`.
        """
        if console_log is not None and not console:
            raise ValueError("console_log is the log of a console: give console, too")
        self._binary = os.fspath(binary)
        self._options: Dict[str, Any] = checked(dict(
            args=args, memory=memory, accel=accel, machine=machine, cpu=cpu,
            smp=smp, kernel=kernel, initrd=initrd, append=append, bios=bios,
            firmware=firmware, incoming=incoming, disks=disks,
            netdev_user=netdev_user, agent=agent, console=console, qtest=qtest,
            freezable=freezable, name=name, cwd=cwd, env=env, wrapper=wrapper,
            log_dir=log_dir, console_log=console_log,
            transcript=transcript, timeout=timeout, launch_timeout=launch_timeout,
            quit_timeout=quit_timeout,
        ))  # fmt: skip
        self._native: Optional[_native.Machine] = None
        self._owner = 0
        self._was_reported = False

    @classmethod
    def from_argv(cls, argv: Sequence[Path], **options: Any) -> Self:
        """A machine with this command line: the binary and its arguments. Only what
        the package needs itself is added to it, such as the monitor."""
        if isinstance(argv, (str, bytes)):
            raise TypeError(f"a command line is a list of arguments, not {argv!r}")
        if not argv:
            raise ValueError("a command line begins with the binary, but it is empty")
        return cls(argv[0], args=argv[1:], **options)

    # The life.

    def launch(self) -> Self:
        """Launches it now. Prefer ``with``, which also ends it."""
        self._refuse_twice()
        self._begin(self._launching().wait())
        return self

    def wait(self, *, timeout: Limit = DEFAULT) -> ExitReport:
        """Waits until it ends by itself, and returns the report."""
        return self._reported(self._vm().wait(timeout).wait())

    def shutdown(
        self, *, powerdown: Optional[float] = None, after_guest: Optional[float] = None
    ) -> ExitReport:
        """Ends it: asks QEMU, and kills it if that does not help.

        With ``powerdown``, presses the power button first, and waits so many seconds
        for the guest. With ``after_guest``, first waits so many seconds, without a
        request.
        """
        vm = self._vm()
        self._is_reported = True
        return vm.shutdown(powerdown, after_guest).wait()

    def kill(self) -> ExitReport:
        """Kills it. What the guest has not written to its disks is lost."""
        vm = self._vm()
        self._is_reported = True
        return vm.kill().wait()

    def __enter__(self) -> Self:
        return self.launch()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        vm = self._to_end()
        if vm is None:
            return
        # Before the shutdown, which raises it too.
        is_reported = self._is_reported
        try:
            vm.shutdown(None, None).wait()
        except QemuMachineError:
            if error is None and not is_reported:
                raise
        except BaseException:
            # A signal's handler raised. The machine ends before its exception goes
            # on.
            _kill(vm)
            raise

    async def __aenter__(self) -> Self:
        self._refuse_twice()
        self._begin(await self._launching())
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        vm = self._to_end()
        if vm is None:
            return
        # Before the shutdown, which raises it too.
        is_reported = self._is_reported
        try:
            await vm.shutdown(None, None)
        except QemuMachineError:
            if error is None and not is_reported:
                raise
        except BaseException:
            # The task was cancelled. A kill takes some milliseconds, and the task
            # can be cancelled again: so this blocks the loop.
            _kill(vm)
            raise

    # Templates.

    def prepare_wake(self, *, timeout: Limit = DEFAULT) -> None:
        """Prepares the guest for :meth:`wake`, before it is frozen: its clones then
        wake by one short line on the console, whose shell must be at its prompt. A
        machine with an agent needs no preparation."""
        self._vm().prepare_wake(timeout).wait()

    def freeze(
        self,
        *,
        keep_at: Optional[Path] = None,
        timeout: Limit = DEFAULT,
    ) -> Template:
        """Ends it, and makes its guest a template, from which machines are cloned.

        The machine must be ``freezable``. Without ``keep_at``, the files of the
        template go with the object.
        """
        vm = self._vm()
        self._is_reported = True
        frozen = vm.freeze(keep_at, timeout).wait()
        # Most programs need no templates.
        from ._template import Template

        return Template(frozen)

    def wake(
        self,
        *,
        identity: Optional[Identity] = None,
        hostname: Optional[str] = None,
        timeout: Limit = DEFAULT,
    ) -> Identity:
        """Gives the Linux guest of a clone the right time, and its own random seed,
        machine id, boot id and MAC addresses. Without it, all clones have the same.

        Returns the identity, which is random if none is given.
        """
        return self._vm().wake(identity, hostname, timeout).wait()

    # The guest, as it is now.

    def migrate_to(
        self, other: Machine, *, live: bool = False, timeout: Limit = DEFAULT
    ) -> MigrationReport:
        """Moves the guest to another machine, which must be launched with ``incoming``,
        and be otherwise like this one.

        The guest is paused first, and then in its earlier state there. Here it stays
        paused. With ``live``, it runs while most of its memory is moved. If the move
        fails, the guest resumes its earlier state here, and the other machine ends.
        """
        return self._vm().migrate_to(other._vm(), live, timeout).wait()

    def save_to(
        self, path: Path, *, live: bool = False, timeout: Limit = DEFAULT
    ) -> MigrationReport:
        """Saves the guest with its memory to a file, but without its disks.

        The guest is paused first, or with ``live`` after most of its memory is saved,
        and stays paused. If the save fails, it resumes its earlier state.
        """
        return self._vm().save_to(path, live, timeout).wait()

    def load_from(
        self, path: Path, *, paused: bool = False, timeout: Limit = DEFAULT
    ) -> MigrationReport:
        """Loads a guest that :meth:`save_to` saved. This machine must be launched with
        ``incoming``, and be otherwise like the saved one.

        The guest resumes its earlier state, or with ``paused`` stays paused.
        """
        return self._vm().load_from(path, paused, timeout).wait()

    def save_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> None:
        """Saves the guest with its memory and its disks, as a snapshot in the disks.

        Each writable disk must be able to store it: use the format qcow2. ``disks`` are
        the names of nodes, if not all writable disks are meant.
        """
        self._vm().save_snapshot(name, nodes(disks), timeout).wait()

    def load_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> None:
        """Restores a snapshot. The guest then runs if it ran before this call."""
        self._vm().load_snapshot(name, nodes(disks), timeout).wait()

    def delete_snapshot(
        self,
        name: str,
        *,
        disks: Optional[Sequence[str]] = None,
        timeout: Limit = DEFAULT,
    ) -> None:
        """Deletes a snapshot from all disks that have it."""
        self._vm().delete_snapshot(name, nodes(disks), timeout).wait()

    def snapshots(self, *, timeout: Limit = DEFAULT) -> List[Snapshot]:
        """The snapshots in the writable disks, the oldest first."""
        return self._vm().snapshots(timeout).wait()

    def forwarded_port(
        self, network: str, guest_port: int, *, timeout: Limit = DEFAULT
    ) -> int:
        """The TCP port of the host that the network with this id forwards to a port of
        the guest."""
        return self._vm().forwarded_port(network, guest_port, timeout).wait()

    # Its parts.

    @property
    def qmp(self) -> Qmp:
        """The monitor."""
        return Qmp(self._vm().monitor)

    @property
    def console(self) -> Console:
        """The console, if it has one."""
        return Console(self._vm().console)

    @property
    def agent(self) -> GuestAgent:
        """The guest agent, if it has one."""
        return GuestAgent(self._vm().agent)

    @property
    def qtest(self) -> Qtest:
        """The qtest channel, if it has one."""
        return Qtest(self._vm().qtest)

    @property
    def keyboard(self) -> Keyboard:
        """The keyboard."""
        return Keyboard(self._vm().input)

    @property
    def mouse(self) -> Mouse:
        """The mouse."""
        return Mouse(self._vm().input)

    @property
    def display(self) -> Display:
        """The display, if it has one."""
        return Display(self._vm().display)

    @property
    def aio(self) -> AsyncMachine:
        """The same machine, for coroutines."""
        return AsyncMachine(self)

    def events(self, *names: str) -> Events:
        """Subscribes to events with these names, or to all events."""
        return self.qmp.events(*names)

    def screenshot(self, *, timeout: Limit = DEFAULT) -> Screenshot:
        """A picture of the display; short for ``display.screenshot``."""
        return self._vm().display.screenshot(timeout).wait()

    # Its facts.

    @property
    def name(self) -> str:
        """The name, in errors and in the names of logs."""
        return self._vm().name

    @property
    def pid(self) -> Optional[int]:
        """The process id of QEMU; ``None`` if it has ended."""
        return self._vm().pid

    @property
    def argv(self) -> List[str]:
        """The command line of QEMU."""
        return self._vm().argv

    @property
    def log(self) -> str:
        """The path of the log of QEMU's own output."""
        return self._vm().log

    @property
    def output(self) -> str:
        """The end of QEMU's own output."""
        return self._vm().output

    @property
    def is_running(self) -> bool:
        """Whether it was launched, and has not ended."""
        return self._native is not None and self._native.is_running

    @property
    def report(self) -> Optional[ExitReport]:
        """How it ended; ``None`` while it runs."""
        report = self._vm().report
        return None if report is None else self._reported(report)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._native is not None:
            raise TypeError(
                "a Machine that was launched cannot be pickled or copied: it belongs to this "
                "process; launch another one there"
            )
        return super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        state = "not launched"
        if self._native is not None and self._owner == os.getpid():
            state = f"pid {self._native.pid}" if self._native.is_running else "ended"
        return f"<Machine {self._binary} ({state})>"

    def _launching(self) -> _native.Operation[_native.Machine]:
        return _native.launch(self._binary, self._options)

    def _vm(self) -> _native.Machine:
        if self._native is None:
            raise NotRunning(
                "the machine was not launched: use `with Machine(…) as vm`, or call launch()"
            )
        return self._native

    def _refuse_twice(self) -> None:
        if self._native is not None and self._native.is_running:
            raise RuntimeError("the machine runs already")

    def _begin(self, vm: _native.Machine) -> None:
        self._native, self._owner, self._was_reported = vm, os.getpid(), False

    def _to_end(self) -> Optional[_native.Machine]:
        # A fork leaves the block too, and must not end its parent's machine.
        return self._native if self._owner == os.getpid() else None

    @property
    def _is_reported(self) -> bool:
        """Whether a call has returned the report, or raised it."""
        return self._was_reported or (self._native is not None and self._native.is_told)

    @_is_reported.setter
    def _is_reported(self, is_reported: bool) -> None:
        self._was_reported = is_reported

    def _reported(self, report: ExitReport) -> ExitReport:
        self._was_reported = True
        return report


def best_accel(binary: Path, *, timeout: Limit = DEFAULT) -> str:
    """The best accelerator of this QEMU that really runs a guest on this host, for
    ``Machine(accel=…)``. The finding is kept on disk."""
    return _native.best_accel(binary, timeout).wait()


def _kill(vm: _native.Machine) -> None:
    try:
        vm.kill().wait_uninterrupted()
    except QemuMachineError:
        pass  # It has ended, and another exception is on its way.
