"""The guest agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple, Union

from . import _native
from ._json import encode
from ._limits import DEFAULT

if TYPE_CHECKING:
    from typing import Coroutine, Mapping

    from typing_extensions import Self

    from ._limits import Limit
    from ._monitor import Address


class ExecOutput(NamedTuple):
    """The outcome of a program in the guest."""

    #: The exit code; ``None`` if a signal ended it.
    code: Optional[int]
    #: The signal that ended it.
    signal: Optional[int]
    #: Its standard output.
    stdout: bytes
    #: Its standard error.
    stderr: bytes

    @property
    def success(self) -> bool:
        """Whether it exited with code 0."""
        return self.code == 0

    @property
    def text(self) -> str:
        """The standard output as text, without the last line end."""
        out = self.stdout[:-1] if self.stdout.endswith(b"\n") else self.stdout
        return out.decode("utf-8", "replace")


def _exec(
    native: _native.Agent,
    program: str,
    arguments: Tuple[str, ...],
    env: Optional[Mapping[str, str]],
    input: Union[str, bytes, None],
    timeout: Limit,
) -> _native.Operation[ExecOutput]:
    variables = list((env or {}).items())
    fed = None if input is None else _bytes(input)
    return native.exec(program, list(arguments), variables, fed, timeout)


def _bytes(content: Union[str, bytes]) -> bytes:
    return content.encode() if isinstance(content, str) else content


class GuestAgent:
    """The guest agent. Its operations wait until the agent runs."""

    def __init__(self, native: _native.Agent) -> None:
        self._native = native

    @property
    def aio(self) -> AsyncGuestAgent:
        """The same agent, for coroutines."""
        return AsyncGuestAgent(self._native)

    def ping(self, *, timeout: Limit = DEFAULT) -> None:
        """Waits for an answer."""
        self._native.ping(timeout).wait()

    def wait_until_ready(self, *, timeout: Limit = DEFAULT) -> None:
        """Waits until the agent runs."""
        self._native.wait_until_ready(timeout).wait()

    def execute_json(
        self,
        command: str,
        arguments: Optional[Mapping[str, Any]] = None,
        *,
        timeout: Limit = DEFAULT,
    ) -> Any:
        """Executes a command of the agent, such as ``guest-get-osinfo``."""
        return self._native.execute(command, encode(arguments), timeout).wait()

    def exec(
        self,
        program: str,
        *arguments: str,
        env: Optional[Mapping[str, str]] = None,
        input: Union[str, bytes, None] = None,
        timeout: Limit = DEFAULT,
    ) -> ExecOutput:
        """Runs a program in the guest, and waits for its end."""
        return _exec(self._native, program, arguments, env, input, timeout).wait()

    def read_file(self, path: str, *, timeout: Limit = DEFAULT) -> bytes:
        """The content of a file of the guest."""
        return self._native.read_file(path, timeout).wait()

    def write_file(
        self, path: str, content: Union[str, bytes], *, timeout: Limit = DEFAULT
    ) -> None:
        """Writes a file of the guest."""
        self._native.write_file(path, _bytes(content), timeout).wait()

    def close(self) -> None:
        """Closes the connection."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncGuestAgent:
    """:class:`GuestAgent` for coroutines."""

    def __init__(self, native: _native.Agent) -> None:
        self._native = native

    def ping(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Waits for an answer."""
        return self._native.ping(timeout)

    def wait_until_ready(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Waits until the agent runs."""
        return self._native.wait_until_ready(timeout)

    def execute_json(
        self,
        command: str,
        arguments: Optional[Mapping[str, Any]] = None,
        *,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Any]:
        """Executes a command of the agent, such as ``guest-get-osinfo``."""
        return self._native.execute(command, encode(arguments), timeout)

    def exec(
        self,
        program: str,
        *arguments: str,
        env: Optional[Mapping[str, str]] = None,
        input: Union[str, bytes, None] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, ExecOutput]:
        """Runs a program in the guest, and waits for its end."""
        return _exec(self._native, program, arguments, env, input, timeout)

    def read_file(self, path: str, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, bytes]:
        """The content of a file of the guest."""
        return self._native.read_file(path, timeout)

    def write_file(
        self, path: str, content: Union[str, bytes], *, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, None]:
        """Writes a file of the guest."""
        return self._native.write_file(path, _bytes(content), timeout)

    def close(self) -> None:
        """Closes the connection."""
        self._native.close()


def connect_agent(address: Address, *, timeout: Limit = DEFAULT) -> GuestAgent:
    """Connects to the guest agent of a QEMU that someone else started."""
    return GuestAgent(_native.connect_agent(address, timeout).wait())
