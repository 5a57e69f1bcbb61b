"""A QEMU process: its command line, its launch, its monitor, and its end.

The methods whose names begin with an underscore are a template. Test suites
override them and read the attributes, so names and order stay as they are.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import threading
import weakref
from types import TracebackType
from typing import (
    BinaryIO,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from qemu.qmp import ConnectError, QMPError, SocketAddrT
from qemu.qmp.legacy import QEMUMonitorProtocol

from . import _command_line, _kernel_errors, _output_log
from ._console_face import ConsoleFace
from ._errors import (
    AbnormalShutdown,
    QEMUMachineAddDeviceError,
    QEMUMachineError,
    VMLaunchFailure,
)
from ._monitor_face import MonitorFace
from ._process import Folder, Process, SocketPair, pair_with_child, settle

__all__ = (
    "AbnormalShutdown",
    "QEMUMachine",
    "QEMUMachineAddDeviceError",
    "QEMUMachineError",
    "VMLaunchFailure",
)

LOG = logging.getLogger(__name__)

_Self = TypeVar("_Self", bound="QEMUMachine")


class QEMUMachine(MonitorFace, ConsoleFace):
    """A machine. Nothing runs, and no file is made, until ``launch``.

    :param binary: QEMU.
    :param args: Its arguments, after those of this class.
    :param wrapper: The command that starts QEMU, for example ``gdbserver``.
    :param name: Begins the names of logs.
    :param base_temp_dir: Gets the temporary folder.
    :param monitor_address: A path, or a host and port, to which QEMU connects.
        Without it, the monitor is a pair of sockets.
    :param drain_console: Read the console in the background.
    :param console_log: A file for the console. It implies draining.
    :param log_dir: Gets the log of QEMU's output. Else the temporary folder does.
    :param qmp_timer: QEMU has so many seconds to greet. None is no limit.
    :param sock_dir: Ignored. QEMU 7.2 has it.
    """

    def __init__(
        self,
        binary: str,
        args: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        name: Optional[str] = None,
        base_temp_dir: str = "/var/tmp",
        monitor_address: Optional[SocketAddrT] = None,
        drain_console: bool = False,
        console_log: Optional[str] = None,
        log_dir: Optional[str] = None,
        qmp_timer: Optional[float] = 30,
        sock_dir: Optional[str] = None,
    ) -> None:
        MonitorFace.__init__(self)
        ConsoleFace.__init__(self, drain_console, console_log)
        self._binary = binary
        self._args = list(args)
        self._wrapper = wrapper
        self._qmp_timer = qmp_timer
        self._name = name or f"{id(self):x}"
        self._base_temp_dir = base_temp_dir
        self._log_dir = log_dir
        self._monitor_address = monitor_address

        self._sock_pair: Optional[SocketPair] = None
        #: QEMU gets their second ends, besides the inheritable descriptors.
        self._pairs: List[SocketPair] = []
        self._folder: Optional[Folder] = None
        self._log_path: Optional[str] = None
        self._qemu_log_file: Optional[BinaryIO] = None
        self._popen: Optional[Process] = None
        self._iolog: Optional[str] = None
        self._qmp_set = True
        self._qmp_connection: Optional[QEMUMonitorProtocol] = None
        self._qemu_full_args: Tuple[str, ...] = ()
        self._launched = False
        self._is_starting = False
        self._machine: Optional[str] = None
        self._remove_files: List[str] = []
        self._user_killed = False
        self._is_end_expected = False

    def __enter__(self: _Self) -> _Self:
        """Return the machine. It does not launch."""
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc_val: Optional[BaseException],
        exc_tb: Optional[TracebackType],
    ) -> None:
        try:
            self.shutdown()
        except AbnormalShutdown:
            # The error of the block says more.
            if exc_val is None:
                raise
            LOG.debug("The machine has ended abnormally, too", exc_info=True)

    def __del__(self) -> None:
        # QEMU runs until the end of the program. Nobody can ask for its log any more.
        log: Optional[BinaryIO] = getattr(self, "_qemu_log_file", None)
        if log is not None:
            log.close()

    # What is set before the launch.

    def add_monitor_null(self) -> None:
        """Add a monitor that goes nowhere."""
        self._args += ["-monitor", "null"]

    def add_fd(self: _Self, fd: int, fdset: int, opaque: str, opts: str = "") -> _Self:
        """Give QEMU a descriptor, under the same number."""
        os.set_inheritable(fd, True)
        value = f"fd={fd},set={fdset},opaque={opaque}"
        self._args += ["-add-fd", f"{value},{opts}" if opts else value]
        return self

    def add_args(self, *args: str) -> None:
        """Add arguments."""
        self._args.extend(args)

    def set_machine(self, machine_type: str) -> None:
        """Choose the machine type."""
        self._machine = machine_type

    def set_qmp_monitor(self, enabled: bool = True) -> None:
        """Choose whether the next launch has a monitor."""
        self._qmp_set = enabled

    # What can be read at any time.

    @property
    def args(self) -> List[str]:
        """The arguments. Changes take effect at the next launch."""
        return self._args

    @property
    def binary(self) -> str:
        """QEMU."""
        return self._binary

    @property
    def temp_dir(self) -> str:
        """A folder that is removed at the machine's end. Reading makes it."""
        path = self._made_folder().path
        self._name_log()
        return path

    # Programs that read the next two look for the log.

    @property
    def _temp_dir(self) -> Optional[str]:
        self._name_log()
        return None if self._folder is None else self._folder.path

    @property
    def _qemu_log_path(self) -> Optional[str]:
        self._name_log()
        return self._log_path

    def _name_log(self) -> None:
        """Somebody looks for it."""
        if self._qemu_log_file is not None and self._log_path is None:
            self._log_path = os.path.join(self._made_folder().path, self._name + ".log")
            with _kernel_errors.ignored():
                _output_log.give_name(self._qemu_log_file, self._log_path)

    def _made_folder(self) -> Folder:
        if self._folder is None:
            self._folder = Folder("qemu-machine-", self._base_temp_dir)
        # A launch settles while QEMU starts.
        if self._folder.make() and not self._is_starting:
            settle()
        return self._folder

    @property
    def log_dir(self) -> str:
        """The folder for logs."""
        return self.temp_dir if self._log_dir is None else self._log_dir

    def is_running(self) -> bool:
        """Return whether QEMU has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def exitcode(self) -> Optional[int]:
        """Return QEMU's exit code, also after the end. A signal is negative."""
        return None if self._popen is None else self._popen.poll()

    def get_pid(self) -> Optional[int]:
        """Return the number of the process. None if it does not run."""
        return self._subp.pid if self.is_running() else None

    def get_log(self) -> Optional[str]:
        """Return what QEMU printed. None before the end."""
        return self._iolog

    @property
    def _subp(self) -> Process:
        if self._popen is None:
            raise QEMUMachineError("Subprocess pipe not present")
        return self._popen

    @property
    def _qmp(self) -> QEMUMonitorProtocol:
        if self._qmp_connection is None:
            raise QEMUMachineError("Attempt to access QMP with no connection")
        return self._qmp_connection

    # The launch.

    # Also read outside a launch, by programs that print the command line.
    @property
    def _base_args(self) -> List[str]:
        args = ["-display", "none", "-vga", "none"]
        if self._qmp_set:
            if self._monitor_address is not None:
                args += _command_line.monitor(self._monitor_address)
            else:
                args += _command_line.monitor(_command_line.childs_end(self._sock_pair))
        if self._machine is not None:
            args += ["-machine", self._machine]
        if not self._console_set:
            return args + ["-serial", "null"] * self._console_index
        end = _command_line.childs_end(self._cons_sock_pair)
        return args + _command_line.console(end, self._console_index, self._console_device_type)

    def launch(self) -> None:
        """Start QEMU, and wait for its monitor.

        :raise VMLaunchFailure: It failed. Everything is cleaned up.
        :raise QEMUMachineError: The machine runs already.
        """
        if self._launched:
            raise QEMUMachineError("VM already launched")
        self._popen = None
        self._quit_issued = self._user_killed = self._is_end_expected = False
        try:
            self._launch()
        except BaseException as err:
            try:
                self._end_failed_launch(err)
            except BaseException:
                # A signal's handler may have raised anywhere in it.
                self._end_failed_launch(err)
                raise
            if not isinstance(err, Exception):
                raise
            command = " ".join(self._qemu_full_args)
            raise VMLaunchFailure(self.exitcode(), command, self._iolog or "") from err

    def _launch(self) -> None:
        self._is_starting = True
        try:
            self._pre_launch()
            LOG.debug("VM launch command: %r", " ".join(self._qemu_full_args))
            self._popen = Process(self._qemu_full_args)
            # Test suites close the log, so that QEMU inherits our output.
            self._popen.start(self._qemu_log_file, self._pairs)
        finally:
            self._is_starting = False
            settle()
        self._launched = True
        _RUNNING.add(self)
        self._post_launch()

    def _pre_launch(self) -> None:
        self._iolog = None
        self._events.clear()
        if self._qmp_set:
            if self._monitor_address is None:
                self._sock_pair = self._pair_with_child()
                connection = QEMUMonitorProtocol(self._sock_pair[0], nickname=self._name)
            else:
                connection = QEMUMonitorProtocol(
                    self._monitor_address, server=True, nickname=self._name
                )
                if isinstance(self._monitor_address, str):
                    self._remove_files.append(self._monitor_address)
            self._qmp_connection = connection
        if self._console_set:
            self._cons_sock_pair = self._pair_with_child()
        if self._log_dir is None and self._folder is None:
            self._qemu_log_file = _output_log.unnamed(self._base_temp_dir)
        if self._qemu_log_file is None:
            self._log_path = os.path.join(self.log_dir, self._name + ".log")
            self._qemu_log_file = open(self._log_path, "wb")
        self._qemu_full_args = (*self._wrapper, self._binary, *self._base_args, *self._args)

    def _post_launch(self) -> None:
        for _, theirs in self._pairs:
            theirs.close()
        if self._qmp_connection is not None:
            with self._subp.end() as end:
                self._qmp_connection._meet_child(self._qmp_timer, end)

    def _pair_with_child(self) -> SocketPair:
        """Return two ends. QEMU gets the second, under the same number.

        Both are closed at the end.
        """
        pair = pair_with_child()
        self._pairs.append(pair)
        return pair

    def _end_failed_launch(self, err: BaseException) -> None:
        if self._popen is not None and self._popen.pid is None:
            self._popen = None
        if self._popen is None:
            self._post_shutdown()
            return
        self._launched = True
        # A QEMU that closes its monitor is about to exit, with a code that says more.
        is_exiting = isinstance(err, ConnectError) and isinstance(
            err.exc, (EOFError, ConnectionError)
        )
        try:
            if is_exiting:
                self.wait()
            else:
                self.kill()
        except AbnormalShutdown:
            LOG.debug("QEMU lives after a failed launch: killed", exc_info=True)

    # The end.

    def shutdown(self, hard: bool = False, timeout: Optional[float] = 30) -> None:
        """End the machine, and clean up. Without a launch it does nothing.

        If another thread ends the machine already, wait for that.

        In a fork of the program that has launched it, this only closes the fork's
        copies of descriptors, as all ways to the end do. The machine runs on.

        :param hard: Kill QEMU.
        :param timeout: QEMU has so many seconds to answer ``quit``, and so many to
            end. Then it is killed. None is no limit. It also limits the wait for
            another thread that ends the machine.
        :raise AbnormalShutdown: It was killed, or it had ended before.
        """
        if not self._launched:
            return
        process = self._subp
        if not process.is_ours:
            self._post_shutdown()
            return
        limit = 0.0 if hard else -1.0 if timeout is None else max(timeout, 0.0)
        taken: List[bool] = []
        is_late = False
        try:
            # No signal's handler runs between the lock and the note that it is taken.
            lock = process.ending.acquire
            taken.extend(map(lock, (True,), (min(limit, threading.TIMEOUT_MAX),)))
            if not taken[0]:
                # The other thread may wait without a limit.
                is_late = self._user_killed = True
                process.kill()
                taken.extend(map(lock, (True,)))
            # The other thread may have launched it again.
            if self._launched and self._popen is process:
                self._end(hard, timeout)
        finally:
            # Between a call and the next instruction a handler may raise.
            if True in taken:
                process.ending.release()
        if is_late and not hard:
            raise AbnormalShutdown("Could not perform graceful shutdown")

    def _end(self, hard: bool, timeout: Optional[float]) -> None:
        try:
            if self._is_end_expected:
                self._quit_issued = True
            if hard:
                self._hard_shutdown()
            else:
                self._do_shutdown(timeout)
            self._post_shutdown()
        except BaseException:
            # A signal's handler may have raised anywhere. Each step may be repeated.
            if self._launched:
                self._end_again()
            raise

    def _end_again(self) -> None:
        try:
            if self._subp.poll() is None:
                self._hard_shutdown()
        finally:
            self._post_shutdown()

    def kill(self) -> None:
        """Kill QEMU, and clean up."""
        self.shutdown(hard=True)

    def wait(self, timeout: Optional[float] = 30) -> None:
        """Wait until QEMU ends by itself, and clean up.

        It closes the monitor first.

        :param timeout: After so many seconds QEMU is killed. None is no limit.
        :raise AbnormalShutdown: It was killed.
        """
        # A shutdown of another thread still has to send `quit`.
        self._is_end_expected = True
        self.shutdown(timeout=timeout)

    def _hard_shutdown(self) -> None:
        self._early_cleanup()
        self._user_killed = True
        self._subp.kill()
        self._subp.wait(timeout=_KILL_SECONDS)

    def _soft_shutdown(self, timeout: Optional[float]) -> None:
        self._early_cleanup()
        if self._qmp_connection is not None:
            try:
                if not self._quit_issued:
                    self._qmp_connection.settimeout(timeout)
                    self.qmp("quit")
            finally:
                self._close_qmp_connection()
        elif not self._quit_issued:
            self._subp.terminate()
        self._subp.wait(timeout=timeout)

    def _do_shutdown(self, timeout: Optional[float]) -> None:
        try:
            self._soft_shutdown(timeout)
        except Exception as err:
            self._hard_shutdown()
            raise AbnormalShutdown("Could not perform graceful shutdown") from err
        except BaseException:
            self._hard_shutdown()
            raise

    def _post_shutdown(self) -> None:
        try:
            self._close_qmp_connection()
        except QMPError as err:
            LOG.warning("Exception closing QMP connection: %s", str(err) or type(err).__name__)
        self._early_cleanup()
        self._close_sockets()
        self._load_io_log()
        self._close_qemu_log_file()
        self._remove_temporary_files()
        code = self.exitcode()
        if code is not None and code < 0 and not (self._user_killed and code == -signal.SIGKILL):
            command = " ".join(self._qemu_full_args)
            LOG.warning('qemu received signal %i; command: "%s"', -code, command)
        self._launched = False
        _RUNNING.discard(self)
        self._quit_issued = self._user_killed = self._is_end_expected = False

    def _close_sockets(self) -> None:
        for ours, theirs in self._pairs:
            theirs.close()
            ours.close()
        self._pairs = []
        self._sock_pair = None

    def _close_qmp_connection(self) -> None:
        connection = self._qmp_connection
        try:
            if connection is not None:
                connection.close()
        except QMPError:
            self._qmp_connection = None
            raise
        self._qmp_connection = None

    def _close_qemu_log_file(self) -> None:
        if self._qemu_log_file is not None:
            if self._iolog is None:
                # It will be read by its name.
                self._name_log()
            # In this order nobody meets a closed file, if a signal's handler raises.
            file, self._qemu_log_file = self._qemu_log_file, None
            file.close()

    def _load_io_log(self) -> None:
        if self._qemu_log_file is not None or self._log_path is not None:
            # Neither a lost file nor what is no text may stop the clean-up.
            text = ""
            with _kernel_errors.ignored():
                text = _output_log.text(self._qemu_log_file, self._log_path)
            self._iolog = text

    def _remove_temporary_files(self) -> None:
        log, self._log_path = self._log_path, None
        if self._folder is not None:
            self._folder.remove(log)
            self._folder = None
        if self._popen is not None and not self._popen.is_ours:
            self._remove_files.clear()
        for path in self._remove_files:
            self._remove_if_exists(path)
        self._remove_files = []

    @staticmethod
    def _remove_if_exists(path: str) -> None:
        """Remove a file, if there is one. Nothing may stop the clean-up."""
        with _kernel_errors.ignored():
            os.remove(path)


#: QEMU has so many seconds to end after SIGKILL.
_KILL_SECONDS = 60


def _end_all() -> None:
    """End what still runs when the interpreter ends. Nothing is printed."""
    for machine in list(_RUNNING):
        with contextlib.suppress(Exception):
            QEMUMachine._hard_shutdown(machine)
            QEMUMachine._post_shutdown(machine)


#: The machines between launch and end. After a fork they are those of the parent.
_RUNNING: "weakref.WeakSet[QEMUMachine]" = weakref.WeakSet()
atexit.register(_end_all)


def _name_logs() -> None:
    """A fork looks for the same files as we."""
    for machine in list(_RUNNING):
        with _kernel_errors.ignored():
            machine._name_log()


os.register_at_fork(before=_name_logs, after_in_child=_RUNNING.clear)
