"""Streams of asyncio: connecting, listening, lines, and closing in bounded time."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import ssl as ssl_module
from typing import Any, Callable, List, Optional, Tuple, Union

from .error import ProtocolError, QMPError

InternetAddrT = Tuple[str, int]
UnixAddrT = str
SocketAddrT = Union[UnixAddrT, InternetAddrT]
ConnectAddrT = Union[SocketAddrT, socket.socket]

Streams = Tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(
    address: ConnectAddrT, ssl: Optional[ssl_module.SSLContext], limit: int
) -> Streams:
    """Connect to a path or to a pair of host and port, or take a socket."""
    if isinstance(address, socket.socket):
        return await asyncio.open_connection(sock=address, ssl=ssl, limit=limit)
    if isinstance(address, tuple):
        host, port = address
        return await asyncio.open_connection(host, port, ssl=ssl, limit=limit)
    return await asyncio.open_unix_connection(path=address, ssl=ssl, limit=limit)


async def listen(
    address: SocketAddrT,
    incoming: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    ssl: Optional[ssl_module.SSLContext],
    limit: int,
) -> asyncio.AbstractServer:
    """Listen on a path, or on a pair of host and port."""
    if isinstance(address, tuple):
        host, port = address
        return await asyncio.start_server(
            incoming, host=host, port=port, ssl=ssl, backlog=1, limit=limit
        )
    return await asyncio.start_unix_server(
        incoming, path=address, ssl=ssl, backlog=1, limit=limit
    )


async def read_line(reader: asyncio.StreamReader, most: int) -> bytes:
    """Read one line with its newline. At the stream's end, return what is there.

    The limit of the stream bounds its buffer, and not the line.

    :raise EOFError: The stream has ended, and nothing is left.
    :raise ProtocolError: The line has more than ``most`` bytes.
    """
    parts: List[bytes] = []
    size = 0
    while True:
        try:
            part = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as err:
            part = err.partial
            if not part and not parts:
                raise EOFError from None
            return b"".join([*parts, part])
        except asyncio.LimitOverrunError as err:
            # So many bytes are there, and no newline among them.
            part = await reader.readexactly(err.consumed)
        parts.append(part)
        size += len(part)
        if size > most:
            raise ProtocolError(f"A message of the peer is longer than {most} bytes.")
        if part.endswith(b"\n"):
            return b"".join(parts) if len(parts) > 1 else part


async def close(writer: asyncio.StreamWriter, grace: float) -> None:
    """Close a connection.

    A peer that does not read would hold it up. After ``grace`` seconds, what is
    unsent is dropped.
    """
    writer.close()
    closed = asyncio.get_running_loop().create_task(writer.wait_closed())
    done, _ = await asyncio.wait([closed], timeout=grace)
    if not done:
        writer.transport.abort()
        await asyncio.wait([closed])
    # The session is over: how its transport ended changes nothing.
    with contextlib.suppress(Exception):
        closed.result()


def send_fd(writer: asyncio.StreamWriter, fd: int) -> None:
    """Send one blank byte with a descriptor, past the writer's buffer.

    :raise QMPError: The socket is no unix socket, or the peer does not read.
    """
    transport_socket = writer.get_extra_info("socket")
    if transport_socket is None or transport_socket.family != socket.AF_UNIX:
        raise QMPError("Sending file descriptors requires a UNIX socket.")
    if writer.transport.get_write_buffer_size():
        # The byte must not land within a message.
        raise QMPError("Cannot send a file descriptor: the peer does not read.")
    # The transport's socket has no sendmsg.
    with socket.socket(fileno=os.dup(transport_socket.fileno())) as own:
        send_fd_over(own, fd)


def send_fd_over(own: socket.socket, fd: int) -> None:
    """Send one blank byte with a descriptor over a unix socket."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
    try:
        own.sendmsg([b" "], [rights])
    except BlockingIOError:
        raise QMPError("Cannot send a file descriptor: the peer does not read.") from None
