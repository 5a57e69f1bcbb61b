"""The process of a machine: start, wait, kill, reap.

This file is a seam: all that the classes know of processes is its public face, so
another engine may take its place. ``Process`` looks like ``subprocess.Popen``,
because tests read ``pid``, ``poll`` and ``wait`` of it.

It is not one. ``Popen`` loses a child if a signal's handler raises while it starts
it. It also has to be told of every descriptor that the child inherits. The way
around both, a thread and a list of descriptors, cost a launch 0.6 ms.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import operator
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from typing import IO, Any, Iterator, List, Optional, Sequence, Tuple

from qemu.qmp._blocking_stream import Deadline

from . import _kernel_errors
from ._guardian import GUARDIAN

#: Our end and the child's.
SocketPair = Tuple[socket.socket, socket.socket]


class Process:
    """A child process. Nothing runs until ``start``.

    It dies with this process, if it has not ended before. A fork of this process has
    a copy of the object that does nothing to the child.

    :param args: The command line.
    """

    stdin = stdout = stderr = None

    def __init__(self, args: Sequence[str]) -> None:
        #: The command line.
        self.args = args
        # Each has one element from the moment at which the kernel has done it: one
        # call into C starts or reaps, and appends. No signal's handler runs in it.
        self._pids: List[int] = []
        self._reaped: List[Tuple[int, int]] = []
        # While it is held, the number is that of the process. A signal's handler may
        # ask in the middle of the same thread's question.
        self._reaping = threading.RLock()
        #: One thread at a time ends it. A signal's handler may do so in the middle of
        #: the same thread's work.
        self.ending = threading.RLock()
        self._parent = os.getpid()
        # What the guardian knows of it.
        self._guarded: List[str] = []

    def __repr__(self) -> str:
        return f"<Process: pid: {self.pid}, returncode: {self.returncode}>"

    @property
    def pid(self) -> Optional[int]:
        """The number of the process. None before the start."""
        return self._pids[0] if self._pids else None

    @property
    def is_ours(self) -> bool:
        """Whether it is a child of this process, and not of one that has forked us."""
        return self._parent == os.getpid()

    @property
    def returncode(self) -> Optional[int]:
        """The exit code, if a call has reaped it. A signal's number is negative."""
        return os.waitstatus_to_exitcode(self._reaped[0][1]) if self._reaped else None

    def start(self, output: Optional[IO[bytes]], pairs: Sequence[SocketPair]) -> None:
        """Start the child. Standard input is empty.

        The child has its ends of these pairs and all inheritable descriptors, under
        the same numbers. If a signal's handler raises, the child may have been
        started.

        :param output: Takes standard output and error. None inherits our output.
        :param pairs: The first ends are ours.
        :raise OSError: There is no such program, or it cannot be started.
        """
        # The guardian finds the child by it, until its number is known. The child does
        # not know it. It may close the others when we end, before the guardian looks.
        ours, mark = pair_with_child()
        with ours, mark:
            descriptors = [*(theirs.fileno() for _, theirs in pairs), mark.fileno()]
            spawn = functools.partial(
                os.posix_spawnp,
                file_actions=_file_actions(output, descriptors),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them
            )
            birth = GUARDIAN.guard_birth(*(os.fstat(it.fileno()).st_ino for it in (mark, ours)))
            self._guarded.append(birth)
            try:
                self._pids.extend(map(spawn, self.args[:1], (self.args,), (os.environ,)))
                item = GUARDIAN.guard_process(self._pids[0], birth)
                if item is not None:
                    self._guarded.append(item)
            finally:
                if not self._pids:
                    self._release()

    def poll(self) -> Optional[int]:
        """Return the exit code, or None while it runs.

        In a fork of its parent, it is what the parent knew before.
        """
        if not self.is_ours:
            return self.returncode
        with self._reaping:
            if self._pids and not self._reaped:
                reaped = map(os.waitpid, self._pids, (os.WNOHANG,))
                try:
                    # Of one that runs, the number is 0.
                    self._reaped.extend(filter(operator.itemgetter(0), reaped))
                except ChildProcessError:
                    # Somebody else has reaped it, or SIGCHLD is ignored.
                    self._reaped.append((self._pids[0], 0))
        if self._reaped:
            self._release()
        return self.returncode

    def _release(self) -> None:
        items, self._guarded = self._guarded, []
        for item in items:
            GUARDIAN.release(item)

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait for the end, and return the exit code.

        :raise subprocess.TimeoutExpired: So many seconds have passed.
        :raise ChildProcessError: This process is a fork of its parent.
        """
        if not self.is_ours:
            raise ChildProcessError(errno.ECHILD, "QEMU is a child of another process")
        if not self._has_ended_within(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        code = self.poll()
        assert code is not None
        return code

    def _has_ended_within(self, timeout: Optional[float]) -> bool:
        with self.end() as end:
            if end is not None:
                poll = select.poll()
                poll.register(end, select.POLLIN)
                return bool(Deadline(timeout).wait(poll))
        thread = threading.Thread(target=self._look_for_end, daemon=True)
        thread.start()
        thread.join(timeout)
        return not thread.is_alive()

    def _look_for_end(self) -> None:
        if not self._reaped:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self._pids[0], os.WEXITED | os.WNOWAIT)

    @contextlib.contextmanager
    def end(self) -> Iterator[Optional[int]]:
        """A descriptor that becomes readable when the process has ended.

        It is None if it has been reaped, or if the kernel is older than Linux 5.3.
        """
        # Files close themselves, if a signal's handler raises before they are closed.
        pidfds: List[io.FileIO] = []
        try:
            if not self._reaped:
                with contextlib.suppress(AttributeError), _kernel_errors.ignored():
                    pidfds.extend(map(io.FileIO, map(os.pidfd_open, self._pids)))
            yield pidfds[0].fileno() if pidfds else None
        finally:
            for pidfd in pidfds:
                pidfd.close()

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it has not ended and is a child of this process."""
        if not self.is_ours:
            return
        with self._reaping:
            if self._pids and not self._reaped:
                # It may be reaped by somebody else.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pids[0], sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def pair_with_child() -> SocketPair:
    """Return two ends. A child can get the second, under the same number."""
    ours, theirs = socket.socketpair()
    if theirs.fileno() <= 2:
        # Our standard streams are closed, but the child has its own.
        with theirs as low:
            number = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)
        theirs = socket.socket(fileno=number)
    return ours, theirs


class Folder:
    """A folder that is removed at the end of this process, or before.

    :param prefix: Begins its name.
    :param parent: The folder that gets it.
    """

    def __init__(self, prefix: str, parent: str) -> None:
        self._owner = os.getpid()
        self._prefix, self._parent = prefix, parent
        #: Its path, once it is there.
        self.path = ""
        self._guarded: Optional[str] = None
        # It has one element from the moment at which the kernel has made the folder.
        self._made: List[None] = []

    def make(self) -> bool:
        """Make it, and return True, unless it is there.

        If a signal's handler raises, ``make`` and ``remove`` know whether it is there.

        :raise OSError: It cannot be made.
        """
        if self._made:
            return False
        while not self._made:
            # `mkdtemp` would report the name only when the folder is there. Here,
            # too, `mkdir` fails if another has taken the name.
            self.path = os.path.abspath(tempfile.mktemp(prefix=self._prefix, dir=self._parent))
            self._guarded = GUARDIAN.guard_folder(self.path)
            try:
                self._made.extend(map(os.mkdir, (self.path,), (0o700,)))
            except OSError as err:
                # That of a signal's handler may come when the folder is there.
                if err.errno is not None:
                    self._release()
                if not isinstance(err, FileExistsError):
                    raise
        return True

    def remove(self, file: Optional[str]) -> None:
        """Remove it, if this process has made it, and not one that has forked us.

        :param file: A file in it. Nearly always it is all that the folder has.
        """
        if self._made and self._owner == os.getpid():
            try:
                if file is not None and os.path.dirname(file) == self.path:
                    os.unlink(file)
                os.rmdir(self.path)
            except OSError as err:
                if err.errno is None:
                    raise
                shutil.rmtree(self.path, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        GUARDIAN.release(self._guarded)


#: Wait until the guardian's start is over. It takes 2 ms, once in each program.
settle = GUARDIAN.settle


def _file_actions(output: Optional[IO[bytes]], descriptors: Sequence[int]) -> List[Any]:
    """What a child does with its descriptors before it becomes the program.

    These become inheritable only in the child: two machines that two threads launch
    at a time do not get each other's.
    """
    actions: List[Any] = []
    if output is not None:
        actions.append((os.POSIX_SPAWN_DUP2, output.fileno(), 1))
    actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
    for number in descriptors:
        # A copy is inheritable. One under its own number is so from glibc 2.29 on.
        actions.append((os.POSIX_SPAWN_DUP2, number, 0))
        actions.append((os.POSIX_SPAWN_DUP2, 0, number))
    actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    return actions
