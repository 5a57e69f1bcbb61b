"""The console of a machine, as a socket."""

from __future__ import annotations

import os
import socket
import weakref
from typing import Any, Callable, Optional

from ._console_drain import Drain


class ConsoleSocket(socket.socket):
    """A socket that may be drained in the background.

    Without draining it is a plain socket. With it, what arrives waits in memory,
    and ``recv`` takes it from there.

    :param address: The path of a unix socket to connect to.
    :param sock_fd: A connected socket. It is duplicated.
    :param file: The path of a file that gets all bytes. It needs ``drain``.
    :param drain: Read in the background.
    :raise ValueError: Both or neither of ``address`` and ``sock_fd`` are given.
    """

    def __init__(
        self,
        address: Optional[str] = None,
        sock_fd: Optional[int] = None,
        file: Optional[str] = None,
        drain: bool = False,
    ) -> None:
        self._drain: Optional[Drain] = None
        self._stop: Callable[[], Any] = _nothing
        if (address is None) == (sock_fd is None):
            raise ValueError("exactly one of address and sock_fd must be given")
        if sock_fd is not None:
            copy = os.dup(sock_fd)
            try:
                super().__init__(fileno=copy)
            except BaseException:
                os.close(copy)
                raise
        else:
            super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._logfile = file
        self._seconds: Optional[float] = _LIMIT
        try:
            if address is not None:
                self.connect(address)
            if drain:
                self._drain = Drain(self, file)
                # Also if nobody closes it.
                self._stop = weakref.finalize(self, self._drain.stop)
        except BaseException:
            super().close()
            raise

    def __repr__(self) -> str:
        thread = None if self._drain is None else self._drain.thread
        return f"<{super().__repr__()}, logfile={self._logfile}, drain_thread={thread}>"

    def close(self) -> None:
        """Close it, and end the draining. It may be repeated."""
        if self._drain is not None:
            # `_stop` does nothing the second time, if a signal's handler raised in the first.
            self._drain.stop()
        self._stop()
        super().close()

    def recv(self, bufsize: int = 1, flags: int = 0) -> bytes:
        """Read up to ``bufsize`` bytes.

        If drained, wait until there are so many. At the console's end it returns
        what is left, and then no bytes.

        :raise socket.timeout: The limit has passed. It is 300 seconds if drained.
        """
        if self._drain is None:
            return super().recv(bufsize, flags)
        _check_flags(flags)
        _check_size(bufsize, "recv")
        return self._drain.take(bufsize, bufsize, self._seconds)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read into a buffer. If drained, wait until there is one byte."""
        if self._drain is None:
            return super().recv_into(buffer, nbytes, flags)
        _check_flags(flags)
        _check_size(nbytes, "recv_into")
        view = memoryview(buffer).cast("B")
        data = self._drain.take(1, nbytes or len(view), self._seconds)
        view[: len(data)] = data
        return len(data)

    def setblocking(self, flag: bool) -> None:
        """Set the mode of the socket. It does nothing if drained."""
        if self._drain is None:
            super().setblocking(flag)

    def settimeout(self, value: Optional[float]) -> None:
        """Limit each read to so many seconds. None removes the limit."""
        if self._drain is None:
            super().settimeout(value)
        else:
            self._seconds = value

    def gettimeout(self) -> Optional[float]:
        """Return the limit of each read."""
        return super().gettimeout() if self._drain is None else self._seconds


def _nothing() -> None:
    """Without draining there is nothing to stop."""


def _check_size(size: int, name: str) -> None:
    if size < 0:
        # In the words of Python's sockets.
        raise ValueError(f"negative buffersize in {name}")


def _check_flags(flags: int) -> None:
    if flags:
        raise AssertionError("a drained console has no flags")


#: Seconds of a read of a drained console.
_LIMIT = 300.0
