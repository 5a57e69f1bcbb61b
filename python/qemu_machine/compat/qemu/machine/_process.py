"""The process of a machine: start, wait, kill, reap.

This file is a seam: all that the classes know of processes is its public face, so
another engine may take its place. ``Process`` looks like ``subprocess.Popen``,
because tests read ``pid``, ``poll`` and ``wait`` of it.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import select
import signal
import subprocess
import threading
from typing import IO, Any, Callable, Iterator, List, Optional, Sequence

from qemu.qmp._blocking_stream import Deadline

from . import _kernel_errors
from ._guardian import GUARDIAN


class Process:
    """A child process. Nothing runs until ``start``.

    It dies with this process, if it has not ended before.

    :param args: The command line.
    """

    stdin = stdout = stderr = None

    def __init__(self, args: Sequence[str]) -> None:
        #: The command line.
        self.args = args
        # It has one element from the moment at which the child exists.
        self._started: List["subprocess.Popen[bytes]"] = []
        self._guarded: Optional[str] = None

    def __repr__(self) -> str:
        return f"<Process: pid: {self.pid}, returncode: {self.returncode}>"

    @property
    def pid(self) -> Optional[int]:
        """The number of the process. None before the start."""
        return self._started[0].pid if self._started else None

    @property
    def returncode(self) -> Optional[int]:
        """The exit code, if a call has reaped it. A signal's number is negative."""
        return self._started[0].returncode if self._started else None

    def start(self, output: Optional[IO[bytes]], descriptors: Sequence[int]) -> None:
        """Start the child. Standard input is empty.

        The child has these descriptors and all inheritable ones, under the same
        numbers. If a signal's handler raises, the child may have been started.

        :param output: Takes standard output and error. None inherits our output.
        :raise OSError: There is no such program, or it cannot be started.
        """

        def run() -> None:
            popen = _spawn(self.args, output, descriptors)
            self._started.append(popen)
            self._guarded = GUARDIAN.guard_process(popen.pid)

        _uninterrupted(run)

    def poll(self) -> Optional[int]:
        """Return the exit code, or None while it runs."""
        if not self._started:
            return None
        try:
            # Its `poll` would lose an OSError that a signal's handler raises.
            code = self._started[0].wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None
        self._release()
        return code

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait for the end, and return the exit code.

        :raise subprocess.TimeoutExpired: So many seconds have passed.
        """
        popen = self._started[0]
        deadline = Deadline(timeout)
        with self.end() as end:
            if end is not None:
                poll = select.poll()
                poll.register(end, select.POLLIN)
                if not deadline.wait(poll):
                    assert timeout is not None
                    raise subprocess.TimeoutExpired(self.args, timeout)
                timeout = None
        code = popen.wait(timeout)
        self._release()
        return code

    @contextlib.contextmanager
    def end(self) -> Iterator[Optional[int]]:
        """A descriptor that becomes readable when the process has ended.

        It is None if it has been reaped, or if the kernel is older than Linux 5.3.
        """
        pidfd: Optional[int] = None
        if self._started and self.returncode is None:
            with contextlib.suppress(AttributeError), _kernel_errors.ignored():
                pidfd = os.pidfd_open(self._started[0].pid)
        try:
            yield pidfd
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it has not ended."""
        if self._started:
            self._started[0].send_signal(sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _release(self) -> None:
        item, self._guarded = self._guarded, None
        GUARDIAN.release_process(item)


class Folder:
    """A folder that is removed at the end of this process, or before."""

    def __init__(self, path: str) -> None:
        self._guarded = GUARDIAN.guard_folder(path)

    def release(self) -> None:
        """The folder has been removed."""
        GUARDIAN.release_folder(self._guarded)


def _spawn(
    args: Sequence[str], output: Optional[IO[bytes]], descriptors: Sequence[int]
) -> "subprocess.Popen[bytes]":
    """Start a child with these descriptors and all inheritable ones.

    They become inheritable only in the child: two machines that two threads launch
    at a time do not get each other's.
    """
    for is_last in (False,) * _TRIES + (True,):
        try:
            return subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds={*descriptors, *_inheritable()},
            )
        except OSError as err:
            # Another thread may have closed one of them since we looked.
            if is_last or err.errno != errno.EBADF:
                raise
    raise AssertionError


def _inheritable() -> List[int]:
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if number > 2 and os.get_inheritable(number):
                found.append(number)
        except OSError:
            pass  # The listing's own descriptor is closed already.
    return found


def _uninterrupted(call: Callable[[], Any]) -> None:
    """Call to the end, also if a signal's handler raises in the meantime.

    Handlers run in the main thread only, so the call runs in another one.
    """
    if threading.current_thread() is not threading.main_thread():
        call()
        return
    errors: List[BaseException] = []
    running = _thread.allocate_lock()
    running.acquire()

    def run() -> None:
        try:
            call()
        except BaseException as err:  # for the caller
            errors.append(err)
        finally:
            running.release()

    threads: List[int] = []
    try:
        # One call into C: the thread is also recorded.
        threads.extend(map(_thread.start_new_thread, (run,), ((),)))
        running.acquire()
    except BaseException:
        if threads:
            running.acquire()
        raise
    if errors:
        raise errors.pop()


_TRIES = 10
