"""Lines over a blocking connection, with deadlines.

Every wait is one ``poll``, so a signal's handler may interrupt it with an
exception. What was read or left unsent stays for the next call.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from typing import List, Optional, Union

from . import _transport
from .error import ProtocolError, QMPError


class Deadline:
    """A point in time that calls may not pass. None means never."""

    def __init__(self, seconds: Optional[float]) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def milliseconds(self) -> Optional[int]:
        """Return how long to wait, rounded up."""
        if self._at is None:
            return None
        left = max(0.0, self._at - time.monotonic())
        return min(int(left * 1000) + (left > 0), 2**31 - 1)


class LineStream:
    """Lines over one connected socket. It takes over the socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._unsent = bytearray()
        self._buffer = bytearray()
        self._searched = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def queue(self, data: bytes) -> None:
        """Send these bytes, or keep what the socket does not take for later.

        :raise OSError: The connection is lost.
        """
        self._unsent += data
        self._send()

    def send_fd(self, fd: int) -> None:
        """Send one blank byte with a descriptor.

        :raise QMPError: The socket is no unix socket, or the peer does not read.
        """
        if self._socket.family != socket.AF_UNIX:
            raise QMPError("Sending file descriptors requires a UNIX socket.")
        if self._unsent:
            raise QMPError("Cannot send a file descriptor: the peer does not read.")
        _transport.send_fd_over(self._socket, fd)

    def read_line(self, deadline: Deadline) -> Optional[bytes]:
        """Return the next line, or None at the deadline. Send what is unsent.

        :raise EOFError: The peer has closed the connection.
        :raise OSError: The connection is lost.
        """
        while True:
            line = self._take_line()
            if line is not None:
                return line
            if not self._ready(deadline):
                return None
            self._receive()

    def _take_line(self) -> Optional[bytes]:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > _MAX_LINE:
                raise ProtocolError(f"A message of the peer is longer than {_MAX_LINE} bytes.")
            return None
        line = bytes(memoryview(self._buffer)[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _ready(self, deadline: Deadline) -> bool:
        """Wait for something to read. Send in between."""
        while True:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            events = poll.poll(deadline.milliseconds())
            if not events:
                return False
            if events[0][1] & select.POLLOUT:
                # A lost connection shows when reading, after the last messages.
                with contextlib.suppress(ConnectionError):
                    self._send()
            if events[0][1] & ~select.POLLOUT:
                return True

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self._socket.recv(_CHUNK)
            if not data:
                raise EOFError
            self._buffer += data

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]


class Listener:
    """Waits for one peer. It listens from its creation on."""

    def __init__(self, address: _transport.SocketAddrT) -> None:
        self._sockets = _bound(address)

    def accept(self, deadline: Deadline) -> Optional[socket.socket]:
        """Return the connection of a peer, or None at the deadline."""
        poll = select.poll()
        for sock in self._sockets:
            poll.register(sock, select.POLLIN)
        while poll.poll(deadline.milliseconds()):
            connection = self._accept()
            if connection is not None:
                return connection
        return None

    def close(self) -> int:
        """Stop listening. Return how many more peers had connected."""
        surplus = 0
        while True:
            connection = self._accept()
            if connection is None:
                break
            connection.close()
            surplus += 1
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        return surplus

    def _accept(self) -> Optional[socket.socket]:
        for sock in self._sockets:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                return sock.accept()[0]
        return None


def connected(address: _transport.ConnectAddrT) -> socket.socket:
    """Return a socket that is connected to this address."""
    if isinstance(address, socket.socket):
        return address
    if isinstance(address, tuple):
        return socket.create_connection(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _bound(address: _transport.SocketAddrT) -> List[socket.socket]:
    """Return the sockets that listen at this address.

    A name such as ``localhost`` may stand for several addresses.
    """
    if not isinstance(address, tuple):
        _remove_stale_socket(address)
        return [_listening(socket.AF_UNIX, address)]
    host, port = address
    infos = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: List[socket.socket] = []
    try:
        for family, sockaddr in dict.fromkeys((info[0], info[4]) for info in infos):
            sockets.append(_listening(family, sockaddr))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: int, address: Union[str, tuple[object, ...]]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(1)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that another program has left at this path."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


_CHUNK = 256 * 1024
_MAX_LINE = 256 * 1024 * 1024
