"""The qtest channel: the devices of a machine, without a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._limits import DEFAULT

if TYPE_CHECKING:
    from typing import Coroutine

    from typing_extensions import Literal

    from . import _native
    from ._limits import Limit

    Width = Literal[1, 2, 4]


class Qtest:
    """The qtest channel of a machine that was made with ``qtest=True``.

    Its guest does not run. The commands read and write as its processor would.
    """

    def __init__(self, native: _native.Qtest) -> None:
        self._native = native

    def raw(self, line: str, *, timeout: Limit = DEFAULT) -> str:
        """Sends a line unchanged, and returns QEMU's reply, also if it is a ``FAIL``."""
        return self._native.raw(line, timeout).wait()

    def read(self, address: int, length: int, *, timeout: Limit = DEFAULT) -> bytes:
        """Reads memory."""
        return self._native.read(address, length, timeout).wait()

    def write(self, address: int, data: bytes, *, timeout: Limit = DEFAULT) -> None:
        """Writes memory."""
        self._native.write(address, data, timeout).wait()

    def read_port(self, port: int, *, width: Width = 1, timeout: Limit = DEFAULT) -> int:
        """Reads a port of an x86 machine. ``width`` is in bytes."""
        return self._native.read_port(port, width, timeout).wait()

    def write_port(
        self, port: int, value: int, *, width: Width = 1, timeout: Limit = DEFAULT
    ) -> None:
        """Writes a port of an x86 machine. ``width`` is in bytes."""
        self._native.write_port(port, value, width, timeout).wait()

    def clock_step(
        self, nanoseconds: Optional[int] = None, *, timeout: Limit = DEFAULT
    ) -> int:
        """Moves the clock of the devices by these nanoseconds, or to their next timer.
        Returns the time, in nanoseconds. It needs QEMU's accelerator ``qtest``."""
        return self._native.clock_step(nanoseconds, timeout).wait()


class AsyncQtest:
    """:class:`Qtest` for coroutines."""

    def __init__(self, native: _native.Qtest) -> None:
        self._native = native

    def raw(self, line: str, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, str]:
        """Sends a line unchanged, and returns QEMU's reply, also if it is a ``FAIL``."""
        return self._native.raw(line, timeout)

    def read(
        self, address: int, length: int, *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, bytes]:
        """Reads memory."""
        return self._native.read(address, length, timeout)

    def write(
        self, address: int, data: bytes, *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, None]:
        """Writes memory."""
        return self._native.write(address, data, timeout)

    def read_port(
        self, port: int, *, width: Width = 1, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, int]:
        """Reads a port of an x86 machine. ``width`` is in bytes."""
        return self._native.read_port(port, width, timeout)

    def write_port(
        self, port: int, value: int, *, width: Width = 1, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, None]:
        """Writes a port of an x86 machine. ``width`` is in bytes."""
        return self._native.write_port(port, value, width, timeout)

    def clock_step(
        self, nanoseconds: Optional[int] = None, *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, int]:
        """Moves the clock of the devices. Returns the time, in nanoseconds."""
        return self._native.clock_step(nanoseconds, timeout)
