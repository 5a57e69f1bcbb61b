"""Reads a console in the background, so that QEMU never blocks on it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from typing import IO, Optional

from qemu.qmp._blocking_stream import Deadline

from . import _kernel_errors


class Drain:
    """A thread that reads a socket until its end, or until ``stop``.

    One thread at a time may take what it has read.

    :param sock: The socket. It is duplicated.
    :param file: The path of a file that gets all bytes, too.
    """

    def __init__(self, sock: socket.socket, file: Optional[str]) -> None:
        self._owner = os.getpid()
        log = None if file is None else open(file, "wb", buffering=0)
        try:
            self._ours, theirs = socket.socketpair()
        except BaseException:
            if log is not None:
                log.close()
            raise
        self._ours.setblocking(False)
        self._notices = select.poll()
        self._notices.register(self._ours, select.POLLIN)
        self._unread = Unread()
        # The thread does not hold this object, nor the socket's.
        copy = socket.socket(fileno=os.dup(sock.fileno()))
        args = (copy, theirs, log, self._unread)
        self.thread = threading.Thread(target=_drain, args=args, daemon=True)
        self.thread.start()

    def take(self, least: int, most: int, timeout: Optional[float]) -> bytes:
        """Return up to ``most`` bytes when there are ``least``, or at the end.

        :raise socket.timeout: So many seconds have passed.
        :raise OSError: ``stop`` was called.
        """
        if len(self._unread) >= least:
            # Many programs read a byte at a time, so this takes no system call.
            return self._unread.take(most)
        deadline = Deadline(timeout)
        while True:
            # The notice first: it comes after the bytes.
            with contextlib.suppress(BlockingIOError):
                self._ours.recv(_NOTICES)
            if self._unread.is_ended or len(self._unread) >= least:
                return self._unread.take(most)
            if not deadline.wait(self._notices):
                raise socket.timeout("timed out")

    def stop(self) -> None:
        """End the thread, and forget what is unread. It may be repeated.

        In a fork of the program, the thread is that of the parent, and goes on.
        """
        if self._owner != os.getpid():
            self._ours.close()
            return
        with _kernel_errors.ignored():
            self._ours.shutdown(socket.SHUT_WR)
        if self.thread is not threading.current_thread():
            self.thread.join()
        self._ours.close()
        self._unread.take(MAX_UNREAD)


class Unread:
    """The bytes that nobody has taken. Past 64 MiB the oldest go."""

    def __init__(self) -> None:
        #: Whether no more bytes come.
        self.is_ended = False
        self._bytes = bytearray()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, data: bytes) -> None:
        """Add the newest."""
        with self._lock:
            self._bytes += data
            if len(self._bytes) > MAX_UNREAD:
                del self._bytes[:-MAX_UNREAD]

    def take(self, most: int) -> bytes:
        """Remove and return the oldest."""
        with self._lock:
            data = bytes(self._bytes[:most])
            del self._bytes[: len(data)]
        return data


def _drain(
    sock: socket.socket, theirs: socket.socket, log: Optional[IO[bytes]], unread: Unread
) -> None:
    # Signals interrupt the waits of the main thread, and not this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(theirs, select.POLLIN)
    try:
        while all(number != theirs.fileno() for number, _ in poll.poll()):
            with contextlib.suppress(BlockingIOError, InterruptedError):
                data = sock.recv(_CHUNK, socket.MSG_DONTWAIT)
                if not data:
                    break
                if log is not None:
                    log = _logged(log, data)
                unread.add(data)
                _notify(theirs)
    except OSError:
        pass  # A lost connection is an end.
    finally:
        sock.close()
        unread.is_ended = True
        _notify(theirs)
        theirs.close()
        if log is not None:
            log.close()


def _notify(theirs: socket.socket) -> None:
    with contextlib.suppress(OSError):
        theirs.send(b".", socket.MSG_DONTWAIT)


def _logged(log: IO[bytes], data: bytes) -> Optional[IO[bytes]]:
    """Write to the log. Without space for it, the console goes on without."""
    left = memoryview(data)
    try:
        while left:
            left = left[log.write(left) :]
        return log
    except OSError:
        with contextlib.suppress(OSError):
            log.close()
        return None


#: So many bytes wait for a reader.
MAX_UNREAD = 64 * 1024 * 1024
_CHUNK = 256 * 1024
_NOTICES = 4096
