"""QMP: commands and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

from . import _native
from ._json import encode
from ._limits import DEFAULT

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import (
        AsyncIterator,
        Coroutine,
        Generator,
        Iterator,
        Mapping,
        Protocol,
        Sequence,
        Type,
        Union,
    )

    from typing_extensions import Self

    from ._limits import Limit

    class HasFileno(Protocol):
        """A file, a socket, or a process id's descriptor."""

        def fileno(self) -> int:
            """The number of its descriptor."""
            ...

    Address = Union[str, os.PathLike[str], Tuple[str, int], int, HasFileno]
    #: What QEMU gets: a descriptor, or the path of a file to open for reading.
    Fd = Union[int, HasFileno, str, os.PathLike[str]]


class Event(NamedTuple):
    """An event of QEMU."""

    #: Its name, such as ``"SHUTDOWN"``.
    name: str
    #: Its data; empty if it has none.
    data: Dict[str, Any]
    #: When QEMU sent it, in seconds since 1970; ``None`` if QEMU had no clock.
    timestamp: Optional[float]


def _dashes(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in arguments.items()}


class Events:
    """A subscription to events, from the moment it was made.

    Make it before the command whose events you want: then you miss none. Iterating
    gives all events, and ends when the machine ends.
    """

    def __init__(self, native: _native.Events) -> None:
        self._native = native

    def wait(self, *names: str, timeout: Limit = DEFAULT) -> Event:
        """The next event. With names, the next event with one of them: others stay
        for later calls."""
        return self._native.wait(list(names), timeout).wait()

    def pending(self) -> List[Event]:
        """Takes all events that are there now."""
        return self._native.take_all()

    def close(self) -> None:
        """Stops listening."""
        self._native.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self._native.next().wait()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncEvents:
    """:class:`Events` for coroutines."""

    def __init__(self, native: _native.Events) -> None:
        self._native = native

    def wait(self, *names: str, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, Event]:
        """The next event. With names, the next event with one of them: others stay
        for later calls."""
        return self._native.wait(list(names), timeout)

    def pending(self) -> List[Event]:
        """Takes all events that are there now."""
        return self._native.take_all()

    def close(self) -> None:
        """Stops listening."""
        self._native.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self._native.next()
        if event is None:
            raise StopAsyncIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Qmp:
    """A QMP monitor. Any number of threads may use it at the same time."""

    def __init__(self, native: _native.Monitor) -> None:
        self._native = native

    @property
    def aio(self) -> AsyncQmp:
        """The same monitor, for coroutines."""
        return AsyncQmp(self._native)

    @property
    def version(self) -> Optional[Tuple[int, int, int]]:
        """The version of QEMU, such as ``(10, 0, 2)``."""
        return self._native.version()

    def execute(self, command: str, /, **arguments: Any) -> Any:
        """Executes a command, and returns what QEMU returns.

        An underscore in an argument's name stands for a dash: ``node_name=`` sends
        ``node-name``. For other names, and for a time limit, use
        :meth:`execute_json`.
        """
        return self._native.execute(command, encode(_dashes(arguments)), DEFAULT).wait()

    def execute_json(
        self,
        command: str,
        arguments: Optional[Mapping[str, Any]] = None,
        *,
        oob: bool = False,
        fds: Sequence[Fd] = (),
        timeout: Limit = DEFAULT,
    ) -> Any:
        """Executes a command with exactly these arguments. With ``oob``, before the
        commands that QEMU has queued.

        ``fds`` are passed with the command: numbers, objects with ``fileno()``, or
        paths to open for reading. QEMU gets duplicates, so close yours as usual.
        """
        encoded = encode(arguments)
        return self._native.execute(command, encoded, timeout, oob=oob, fds=fds).wait()

    def getfd(self, name: str, fd: Fd, *, timeout: Limit = DEFAULT) -> None:
        """Passes a descriptor, which QEMU then knows by this name: in arguments such
        as ``fd:NAME``."""
        self._native.getfd(name, fd, timeout).wait()

    def add_fd(self, set: int, fd: Fd, *, timeout: Limit = DEFAULT) -> Dict[str, Any]:
        """Passes a descriptor into a set, which QEMU opens as ``/dev/fdset/SET``."""
        return self._native.add_fd(set, fd, timeout).wait()

    def events(self, *names: str) -> Events:
        """Subscribes to events with these names, or to all events."""
        return Events(self._native.events(list(names)))

    def close(self) -> None:
        """Closes the connection."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncQmp:
    """:class:`Qmp` for coroutines."""

    def __init__(self, native: _native.Monitor) -> None:
        self._native = native

    def execute(self, command: str, /, **arguments: Any) -> Coroutine[Any, Any, Any]:
        """Executes a command, and returns what QEMU returns."""
        return self._native.execute(command, encode(_dashes(arguments)), DEFAULT)

    def execute_json(
        self,
        command: str,
        arguments: Optional[Mapping[str, Any]] = None,
        *,
        oob: bool = False,
        fds: Sequence[Fd] = (),
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Any]:
        """Executes a command with exactly these arguments."""
        encoded = encode(arguments)
        return self._native.execute(command, encoded, timeout, oob=oob, fds=fds)

    def getfd(self, name: str, fd: Fd, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Passes a descriptor, which QEMU then knows by this name."""
        return self._native.getfd(name, fd, timeout)

    def add_fd(
        self, set: int, fd: Fd, *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, Dict[str, Any]]:
        """Passes a descriptor into a set, which QEMU opens as ``/dev/fdset/SET``."""
        return self._native.add_fd(set, fd, timeout)

    def events(self, *names: str) -> AsyncEvents:
        """Subscribes to events with these names, or to all events."""
        return AsyncEvents(self._native.events(list(names)))

    def close(self) -> None:
        """Closes the connection."""
        self._native.close()


class Connect:
    """A connection that is made by ``await``, ``with`` or ``async with``."""

    def __init__(self, address: Address, timeout: Limit) -> None:
        self._address = address
        self._timeout = timeout

    def __await__(self) -> Generator[Any, Any, AsyncQmp]:
        return self._connect().__await__()

    async def _connect(self) -> AsyncQmp:
        return AsyncQmp(await _native.connect(self._address, self._timeout))

    async def __aenter__(self) -> AsyncQmp:
        self._made = await self
        return self._made

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._made.close()


def connect(address: Address, *, timeout: Limit = DEFAULT) -> Qmp:
    """Connects to the monitor of a QEMU that someone else started.

    ``address`` is the path of a unix socket, or a host and a port. It can also be a
    connected socket, or the number of its descriptor: then the connection has a
    duplicate, and you close yours.
    """
    return Qmp(_native.connect(address, timeout).wait())


def connect_aio(address: Address, *, timeout: Limit = DEFAULT) -> Connect:
    """:func:`connect` for coroutines: ``await`` it, or use it as ``async with``."""
    return Connect(address, timeout)
