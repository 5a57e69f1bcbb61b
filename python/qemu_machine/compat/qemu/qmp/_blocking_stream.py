"""Lines over a blocking connection, with deadlines."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import struct
import threading
import time
import weakref
from typing import Any, Callable, List, Optional, Tuple, Union

from . import _transport
from .error import ProtocolError, QMPError


class Deadline:
    """A point in time that calls may not pass. None means never."""

    def __init__(self, seconds: Optional[float]) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def wait(self, poll: select.poll) -> List[Tuple[int, int]]:
        """Return the events of a ``poll``, or nothing when the time has passed.

        Python has no ``ppoll``, so the waits of the main thread are short.
        """
        while True:
            part = self.next_wait()
            events = poll.poll(int(part * 1000) + (part > 0))
            if events or not part:
                return events

    def next_wait(self) -> float:
        """Return the seconds of one wait. Zero if the time has passed.

        The main thread wakes ten times a second: a signal that arrives just before
        the system call does not interrupt it, and its handler, which may raise,
        runs only then.
        """
        is_main = threading.get_ident() == threading.main_thread().ident
        longest = _SLICE if is_main else _LONGEST
        if self._at is None:
            return longest
        return min(longest, max(0.0, self._at - time.monotonic()))


class LineStream:
    """Lines over one connected socket. It takes over the socket.

    A signal's handler may raise after every bytecode. So each change is one call
    into C, or one assignment, and an interrupted method can be called again.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._forgotten = _closed_when_forgotten(self, [sock])
        # The number of the next line, lines and its index in them, and what has
        # arrived after them. Only the last of these chunks may have a newline, and
        # it is empty at the end of the stream.
        self._incoming: Tuple[int, List[bytes], int, List[bytes]] = (0, [], 0, [])
        # The number of messages, what is unsent of them, and how much of that
        # each call of send has taken.
        self._outgoing: Tuple[int, bytes, List[int]] = (0, b"", [])

    @property
    def queued(self) -> int:
        """How many messages were given to ``queue``."""
        return self._outgoing[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._forgotten.detach()

    def queue(self, data: bytes) -> None:
        """Send a message, or keep what the socket does not take for later.

        A lost connection shows when reading, after the last messages.
        """
        number, unsent, taken = self._outgoing
        self._outgoing = (number + 1, unsent[sum(taken) :] + data, [])
        self._send()

    def send_fd(self, fd: int) -> None:
        """Send one blank byte with a descriptor.

        :raise QMPError: The socket is no unix socket, or the peer does not read.
        """
        if self._socket.family != socket.AF_UNIX:
            raise QMPError("Sending file descriptors requires a UNIX socket.")
        if self._is_unsent():
            raise QMPError("Cannot send a file descriptor: the peer does not read.")
        _transport.send_fd_over(self._socket, fd)

    def peek_line(self, deadline: Deadline) -> Optional[Tuple[int, bytes]]:
        """Return the next line and its number, or None at the deadline.

        The line is without its newline. It is the same again until ``next_line``.
        What is unsent is sent in the meantime.

        :raise EOFError: The peer has closed the connection.
        :raise OSError: The connection is lost.
        """
        number, lines, index, chunks = self._incoming
        if lines:
            return number, lines[index]
        size = sum(map(len, chunks))
        while not chunks or b"\n" not in chunks[-1]:
            if chunks and not chunks[-1]:
                raise EOFError
            if size > _MAX_LINE:
                raise ProtocolError(f"A message of the peer is longer than {_MAX_LINE} bytes.")
            if not self._wait(deadline):
                return None
            try:
                # One call into C: no byte is lost between the socket and the list.
                chunks.extend(map(self._socket.recv, (_CHUNK,)))
                size += len(chunks[-1])
            except BlockingIOError:
                pass  # The kernel has promised too much.
        *lines, rest = b"".join(chunks).split(b"\n")
        self._incoming = (number, lines, 0, [rest] if rest else [])
        return number, lines[0]

    def next_line(self) -> None:
        """Go on to the next line."""
        number, lines, index, chunks = self._incoming
        if index + 1 < len(lines):
            self._incoming = (number + 1, lines, index + 1, chunks)
        else:
            self._incoming = (number + 1, [], 0, chunks)

    def _wait(self, deadline: Deadline) -> bool:
        """Wait for something to read. Send in the meantime."""
        while True:
            poll = self._readable
            if self._is_unsent():
                poll = select.poll()
                poll.register(self._socket, select.POLLIN | select.POLLOUT)
            events = deadline.wait(poll)
            if not events:
                return False
            if events[0][1] & select.POLLOUT:
                self._send()
            if events[0][1] & ~select.POLLOUT:
                return True

    def _is_unsent(self) -> bool:
        _, data, taken = self._outgoing
        return sum(taken) < len(data)

    def _send(self) -> None:
        _, data, taken = self._outgoing
        try:
            while sum(taken) < len(data):
                # One call into C: what the socket takes is also counted.
                taken.extend(map(self._socket.send, (memoryview(data)[sum(taken) :],)))
        except (BlockingIOError, ConnectionError):
            pass  # The rest waits for the peer.


class Listener:
    """Waits for one peer. It listens from its creation on."""

    def __init__(self, address: _transport.SocketAddrT) -> None:
        self._sockets = _bound(address)
        self._forgotten = _closed_when_forgotten(self, self._sockets)

    def accept(
        self, deadline: Deadline, peers_end: Optional[int] = None
    ) -> Optional[socket.socket]:
        """Return the connection of a peer, or None at the deadline.

        :param peers_end: A descriptor that becomes readable when no peer will come.
        :raise EOFError: No peer will come.
        """
        poll = select.poll()
        for sock in self._sockets:
            poll.register(sock, select.POLLIN)
        if peers_end is not None:
            poll.register(peers_end, select.POLLIN)
        while True:
            events = deadline.wait(poll)
            # A peer may have connected and ended.
            connection = self._accept()
            if connection is not None or not events:
                return connection
            if any(descriptor == peers_end for descriptor, _ in events):
                raise EOFError

    def refuse(self) -> int:
        """Close the connections of all more peers. Return how many there were."""
        surplus = 0
        while True:
            connection = self._accept()
            if connection is None:
                return surplus
            connection.close()
            surplus += 1

    def close(self) -> None:
        """Stop listening."""
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        self._forgotten.detach()

    def _accept(self) -> Optional[socket.socket]:
        for sock in self._sockets:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                return sock.accept()[0]
        return None


def _closed_when_forgotten(
    owner: object, sockets: List[socket.socket]
) -> "weakref.finalize[[], object]":
    """Close sockets without a warning when nobody has their owner any more.

    A destructor in Python would run after each use, and lose what the handler of
    a signal raises in it.
    """

    def close() -> None:
        for sock in sockets:
            sock.close()

    finalizer = weakref.finalize(owner, close)
    # The mypy for Python 3.9 does not know it.
    finalizer.atexit = False  # type: ignore[misc, unused-ignore]
    return finalizer


def connected(
    address: _transport.ConnectAddrT, deadline: Deadline
) -> Optional[socket.socket]:
    """Return a socket that is connected to this address, or None at the deadline.

    A name such as ``localhost`` may stand for several addresses. Finding them has
    no limit.
    """
    if isinstance(address, socket.socket):
        return address
    if not isinstance(address, tuple):
        return _connected_to_path(address, deadline)
    failure = OSError(errno.EADDRNOTAVAIL, "no address of this name")
    for info in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        sock = socket.socket(info[0], info[1], info[2])
        try:
            if _is_connected(sock, info[4], deadline):
                return sock
            sock.close()
            return None
        except BaseException as err:
            sock.close()
            # What has no number is of a signal's handler.
            if not isinstance(err, OSError) or err.errno is None:
                raise
            failure = err
    try:
        raise failure
    finally:
        del failure  # It holds this frame.


def _connected_to_path(path: str, deadline: Deadline) -> Optional[socket.socket]:
    """Connect to a unix socket. The call waits while the listener's queue is full.

    A socket that does not block would not wait for a place in the queue.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(True)
        while True:
            part = deadline.next_wait()
            # Zero would be no limit.
            seconds = struct.pack("ll", *divmod(int(part * 1e6) + 1, 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
            try:
                _use(sock.connect, path)
                # After a signal, Python takes the socket for connected.
                sock.getpeername()
                return sock
            except OSError as err:
                if err.errno not in (errno.EAGAIN, errno.ENOTCONN):
                    raise
                if not part:
                    sock.close()
                    return None
    except BaseException:
        sock.close()
        raise


def _is_connected(sock: socket.socket, address: Any, deadline: Deadline) -> bool:
    """Connect to a port. Return whether it was done before the deadline."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not deadline.wait(poll):
            return False
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    return True


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


def _listening(family: int, address: Union[str, Tuple[object, ...]]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _use(sock.bind, address)
        sock.listen(1)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _use(call: Callable[[Any], None], address: Any) -> None:
    """Connect or bind a socket. Every error has a number.

    Python has none for a path that is too long. A signal's handler may raise such
    an error as well, but no call waits for such a path.
    """
    try:
        call(address)
    except OSError as err:
        is_path = isinstance(address, str)
        if err.errno is None and is_path and len(os.fsencode(address)) > _MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, str(err), address) from err
        raise


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that another program has left at this path."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


#: Seconds of one wait in the main thread, and elsewhere.
_SLICE = 0.1
_LONGEST = 1e6
_CHUNK = 64 * 1024
#: The bytes of the longest path of a unix socket.
_MAX_PATH = 107
_MAX_LINE = 256 * 1024 * 1024
