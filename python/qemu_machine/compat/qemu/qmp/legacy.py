"""The blocking client of QMP.

It works in every thread, with or without a running event loop.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any, Dict, List, Optional, Type, TypeVar, Union

from ._exec_errors import return_value
from ._sync_connection import SyncConnection
from .error import QMPError
from .protocol import SocketAddrT

#: A whole command or reply.
QMPMessage = Dict[str, Any]
#: The value that a command returns.
QMPReturnValue = object
#: An object within a message.
QMPObject = Dict[str, object]

_Self = TypeVar("_Self", bound="QEMUMonitorProtocol")


class QMPBadPortError(QMPError):
    """The port of an address is no number."""


class QEMUMonitorProtocol:
    """A blocking connection to a QMP server or a guest agent.

    Time limits are seconds, whole or fractional. Their end raises
    ``asyncio.TimeoutError``.

    :param address: A path, a pair of host and port, or a connected socket.
    :param server: Listen at the address at once. ``accept`` waits for the peer.
    :param nickname: Ends the name of the logger.
    :raise ValueError: A socket cannot be listened at.
    :raise ConnectError: Listening failed.
    """

    def __init__(
        self,
        address: Union[SocketAddrT, socket.socket],
        server: bool = False,
        nickname: Optional[str] = None,
    ) -> None:
        if server and isinstance(address, socket.socket):
            raise ValueError("server argument must be False when address is a socket")
        # Subclasses may answer every unknown attribute, so all are set here.
        self._address = address
        self._timeout: Optional[float] = None
        self._qmp = SyncConnection(address, server, nickname)

    def __enter__(self: _Self) -> _Self:
        """Return the object. It does not connect."""
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc_val: Optional[BaseException],
        exc_tb: Optional[TracebackType],
    ) -> None:
        self.close()

    @classmethod
    def parse_address(cls, address: str) -> SocketAddrT:
        """Return the pair of ``host:port``, or else the string, which is a path.

        :raise QMPBadPortError: There is one colon, and no port after it.
        """
        parts = address.split(":")
        if len(parts) != 2:
            return address
        try:
            return parts[0], int(parts[1])
        except ValueError:
            raise QMPBadPortError(f"Bad port: '{parts[1]}' in '{address}'.") from None

    def connect(self, negotiate: bool = True) -> Optional[QMPMessage]:
        """Connect, and return the greeting.

        There is no time limit, unless ``settimeout`` has set one before. A monitor
        that serves another client does not greet.

        :param negotiate: False for a guest agent: no greeting, no capabilities.
        :raise ConnectError: The connection or the handshake failed.
        :raise asyncio.TimeoutError: The seconds of ``settimeout`` have passed.
        """
        self._qmp.connect(negotiate, self._timeout)
        return self._get_greeting()

    def accept(self, timeout: Optional[float] = 15.0) -> QMPMessage:
        """Wait for the peer of a server, and return its greeting.

        :param timeout: Seconds for connection and handshake, or None.
        :raise ConnectError: The handshake failed.
        :raise asyncio.TimeoutError: The seconds have passed.
        """
        self._qmp.accept(timeout)
        greeting = self._get_greeting()
        assert greeting is not None
        return greeting

    def cmd_obj(self, qmp_cmd: QMPMessage) -> QMPMessage:
        """Send a command as it is, and return the whole reply."""
        return self._qmp.request(qmp_cmd, self._timeout)

    def cmd_raw(self, name: str, args: Optional[QMPObject] = None) -> QMPMessage:
        """Send a command without an id, and return the whole reply."""
        qmp_cmd: QMPMessage = {"execute": name}
        if args:
            qmp_cmd["arguments"] = args
        return self.cmd_obj(qmp_cmd)

    def cmd(self, cmd: Optional[str] = None, /, **kwds: object) -> QMPReturnValue:
        """Execute a command, and return its return value.

        :param cmd: The command. The keyword arguments are its arguments, under
            every name, and as they are.
        :raise ExecuteError: The reply is an error.
        """
        if cmd is None:
            cmd = str(kwds.pop("cmd"))
        qmp_cmd: QMPMessage = {"execute": cmd, "arguments": kwds}
        return return_value(qmp_cmd, self._qmp.request(qmp_cmd, self._timeout, assign_id=True))

    #: The name of ``cmd`` in QEMU 7.2.
    command = cmd

    def pull_event(self, wait: Union[bool, float] = False) -> Optional[QMPMessage]:
        """Return the oldest event.

        :param wait: False returns None if no event is pending. True waits without
            a limit, and a number for so many seconds.
        :raise asyncio.TimeoutError: The seconds have passed.
        :raise ExecInterruptedError: The connection ended before an event came.
        """
        if not wait:
            if not self._qmp.events:
                self._qmp.poll()
            return self._qmp.events.take() if self._qmp.events else None
        self._qmp.wait_event(None if wait is True else float(wait))
        return self._qmp.events.take()

    def get_events(self, wait: Union[bool, float] = False) -> List[QMPMessage]:
        """Return all pending events, or wait for one as ``pull_event`` does."""
        self._qmp.poll()
        events = self._qmp.events.clear()
        if events or not wait:
            return events
        event = self.pull_event(wait)
        return [] if event is None else [event]

    def clear_events(self) -> None:
        """Drop all pending events."""
        self._qmp.poll()
        self._qmp.events.clear()

    def close(self) -> None:
        """Close the connection, or stop listening. It may be repeated."""
        self._qmp.close()

    def settimeout(self, timeout: Optional[float]) -> None:
        """Limit commands, and ``connect``, to so many seconds. None removes the limit.

        After the limit of a command the connection stays usable, and the late reply
        is dropped. After that of ``connect`` the object is idle.
        """
        self._timeout = timeout

    def send_fd_scm(self, fd: int) -> None:
        """Send a descriptor. The next ``getfd`` or ``add-fd`` finds it.

        :raise QMPError: The connection is no unix socket.
        """
        self._qmp.send_fd_scm(fd)

    def _meet_child(self, timeout: Optional[float], childs_end: Optional[int]) -> None:
        """Connect to the process that holds the other end, or wait for it.

        :param childs_end: A descriptor that becomes readable when it has ended.
        """
        if self._qmp.is_server:
            self._qmp.accept(timeout, childs_end)
        else:
            self._qmp.connect(True, timeout)

    def _get_greeting(self) -> Optional[QMPMessage]:
        greeting = self._qmp.greeting
        return None if greeting is None else greeting._asdict()
