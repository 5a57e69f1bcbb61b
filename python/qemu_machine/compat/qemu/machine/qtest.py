"""Machines with a channel for qtest."""

from __future__ import annotations

import os
import socket
from typing import List, Optional, Sequence, Tuple, Union

from . import _command_line
from .machine import QEMUMachine


class QEMUQtestProtocol:
    """A connection to the qtest channel of QEMU.

    :param address: A path, or a pair of host and port.
    :param sock: A connected socket. It is taken over.
    :param server: Listen at the address at once. ``accept`` waits for QEMU.
    :raise ValueError: Not exactly one of address and socket is given, or a
        socket cannot be listened at.
    """

    def __init__(
        self,
        address: Union[str, Tuple[str, int], None] = None,
        sock: Optional[socket.socket] = None,
        server: bool = False,
    ) -> None:
        if (address is None) == (sock is None):
            raise ValueError("Either 'address' or 'sock' must be specified")
        if sock is not None and server:
            raise ValueError("server=True is meaningless when passing socket")
        self._address = address
        self._unread = bytearray()
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self._sock = sock or socket.socket(family, socket.SOCK_STREAM)
        if server:
            assert address is not None
            try:
                if family != socket.AF_UNIX:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._sock.bind(address)
                self._sock.listen(1)
            except BaseException:
                self._sock.close()
                raise

    def connect(self) -> None:
        """Connect to the address. A socket is connected already."""
        if self._address is not None:
            self._sock.connect(self._address)

    def accept(self) -> None:
        """Wait until QEMU connects."""
        connection, _ = self._sock.accept()
        self._sock.close()
        self._sock = connection

    def cmd(self, qtest_cmd: str) -> str:
        """Send a command, and return the line of its answer.

        :raise EOFError: QEMU has closed the channel.
        :raise socket.timeout: The limit has passed.
        """
        self._sock.sendall(f"{qtest_cmd}\n".encode())
        while b"\n" not in self._unread:
            data = self._sock.recv(_CHUNK)
            if not data:
                raise EOFError("QEMU has closed the qtest channel")
            self._unread += data
        line, _, rest = self._unread.partition(b"\n")
        self._unread = rest
        return line.decode() + "\n"

    def close(self) -> None:
        """Close the connection. It may be repeated."""
        self._sock.close()

    def settimeout(self, timeout: Optional[float]) -> None:
        """Limit each wait to so many seconds. None removes the limit."""
        self._sock.settimeout(timeout)


class QEMUQtestMachine(QEMUMachine):
    """A machine that runs no guest code, with a channel to drive its devices."""

    def __init__(
        self,
        binary: str,
        args: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        name: Optional[str] = None,
        base_temp_dir: str = "/var/tmp",
        qmp_timer: Optional[float] = None,
        sock_dir: Optional[str] = None,
    ) -> None:
        if name is None:
            name = f"qemu-{os.getpid()}"
        super().__init__(
            binary,
            args,
            wrapper=wrapper,
            name=name,
            base_temp_dir=base_temp_dir,
            qmp_timer=qmp_timer,
            sock_dir=sock_dir,
        )
        self._qtest: Optional[QEMUQtestProtocol] = None
        self._qtest_sock_pair: Optional[Tuple[socket.socket, socket.socket]] = None

    @property
    def _base_args(self) -> List[str]:
        end = _command_line.childs_end(self._qtest_sock_pair)
        return super()._base_args + _command_line.qtest(end)

    def _pre_launch(self) -> None:
        self._qtest_sock_pair = self._pair_with_child()
        self._qtest = QEMUQtestProtocol(sock=self._qtest_sock_pair[0])
        super()._pre_launch()

    def _post_launch(self) -> None:
        super()._post_launch()
        assert self._qtest is not None
        self._qtest.connect()

    def _close_sockets(self) -> None:
        super()._close_sockets()
        self._qtest_sock_pair = None
        self._qtest = None

    def qtest(self, cmd: str) -> str:
        """Send a command of qtest, and return the line of its answer.

        :raise RuntimeError: It has not been launched.
        """
        if self._qtest is None:
            raise RuntimeError("qtest socket not available")
        return self._qtest.cmd(cmd)


_CHUNK = 4096
