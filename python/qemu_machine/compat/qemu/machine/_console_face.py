"""The console of a machine."""

from __future__ import annotations

import io
from typing import Optional

from ._errors import QEMUMachineError
from ._process import SocketPair
from .console_socket import ConsoleSocket


class ConsoleFace:
    """The part of a machine that talks to its console."""

    def __init__(self, drain_console: bool, console_log: Optional[str]) -> None:
        self._console_log_path = console_log
        self._drain_console = drain_console or console_log is not None
        self._cons_sock_pair: Optional[SocketPair] = None
        self._console_index = 0
        self._console_set = False
        self._console_device_type: Optional[str] = None
        self._console_socket: Optional[ConsoleSocket] = None
        self._console_file: Optional[io.RawIOBase] = None

    def set_console(self, device_type: Optional[str] = None, console_index: int = 0) -> None:
        """Connect ``console_socket`` with the guest, from the next launch on.

        :param device_type: A device. Without it, a serial port.
        :param console_index: So many serial ports before it are unused.
        """
        self._console_set = True
        self._console_device_type = device_type
        self._console_index = console_index

    @property
    def console_socket(self) -> ConsoleSocket:
        """The console. Draining begins when it is first read."""
        if self._console_socket is None:
            if self._cons_sock_pair is None:
                raise QEMUMachineError("The machine has no console")
            self._console_socket = ConsoleSocket(
                sock_fd=self._cons_sock_pair[0].fileno(),
                file=self._console_log_path,
                drain=self._drain_console,
            )
            self._cons_sock_pair[0].close()
        return self._console_socket

    @property
    def console_file(self) -> io.RawIOBase:
        """The console as a file."""
        if self._console_file is None:
            self._console_file = self.console_socket.makefile(
                mode="rb", buffering=0, encoding="utf-8"
            )
        return self._console_file

    def _early_cleanup(self) -> None:
        # QEMU may block on a console that nobody reads.
        if self._console_file is not None:
            self._console_file.close()
            self._console_file = None
        if self._console_socket is not None:
            self._console_socket.close()
            self._console_socket = None
        if self._cons_sock_pair is not None:
            for sock in self._cons_sock_pair:
                sock.close()
            self._cons_sock_pair = None
