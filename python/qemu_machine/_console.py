"""Consoles: what the guest prints, what is typed, and the shell on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Union

from ._limits import DEFAULT

if TYPE_CHECKING:
    import re
    from typing import Coroutine

    from . import _native
    from ._limits import Limit

    Pattern = Union[str, bytes, re.Pattern[str]]
    Patterns = Union[Pattern, List[Pattern]]


class Match:
    """What a console printed, and a pattern matched."""

    __slots__ = ("index", "before", "dropped_bytes", "_groups")

    #: Which pattern of the list matched; 0 for a single one.
    index: int
    #: What the console printed before it.
    before: str
    #: How many bytes before ``before`` are no longer in memory.
    dropped_bytes: int

    def __init__(
        self, *, index: int, groups: List[Optional[bytes]], before: str, dropped_bytes: int
    ) -> None:
        self.index = index
        self.before = before
        self.dropped_bytes = dropped_bytes
        self._groups = groups

    def group(self, number: int = 0) -> Optional[str]:
        """A group of the regular expression; 0 is all that matched."""
        found = self._groups[number]
        return None if found is None else found.decode("utf-8", "replace")

    def groups(self) -> List[Optional[str]]:
        """All groups from 1."""
        return [self.group(number) for number in range(1, len(self._groups))]

    @property
    def text(self) -> str:
        """All that matched."""
        return self.group(0) or ""

    @property
    def raw(self) -> bytes:
        """All that matched, as bytes."""
        return self._groups[0] or b""

    def __getitem__(self, number: int) -> Optional[str]:
        return self.group(number)

    def __repr__(self) -> str:
        return f"<Match {self.text!r}>"


class ShellOutput:
    """The output and the status of a command."""

    __slots__ = ("status", "raw", "dropped_bytes")

    #: The exit status; 128 and more for a signal.
    status: int
    #: Standard output and standard error.
    raw: bytes
    #: How many bytes are missing at the start, because the output was too large.
    dropped_bytes: int

    def __init__(self, status: int, raw: bytes, dropped_bytes: int) -> None:
        self.status = status
        self.raw = raw
        self.dropped_bytes = dropped_bytes

    @property
    def text(self) -> str:
        """The output without the last line end."""
        raw = self.raw[:-1] if self.raw.endswith(b"\n") else self.raw
        return raw.decode("utf-8", "replace")

    @property
    def success(self) -> bool:
        """Whether the status is 0."""
        return self.status == 0

    def __repr__(self) -> str:
        return f"<ShellOutput status={self.status} {self.text[:60]!r}>"


def _listed(patterns: Any) -> List[Any]:
    if isinstance(patterns, list) and not patterns:
        raise ValueError("a console is searched for one pattern or more, and the list is empty")
    return patterns if isinstance(patterns, list) else [patterns]


def _bytes(typed: Union[str, bytes]) -> bytes:
    return typed.encode() if isinstance(typed, str) else typed


class Console:
    """A console. What it prints is always read and kept, so it never blocks the
    guest."""

    def __init__(self, native: _native.Console) -> None:
        self._native = native

    def expect(self, pattern: Patterns, *, timeout: Limit = DEFAULT) -> Match:
        """Waits until the console prints it, and goes on behind it the next time.

        A ``str`` is a regular expression. ``bytes`` are searched as they are. Of a
        list, the first match in the output counts. The syntax is that of Rust's
        regular expressions: no look-around, and no references to groups.
        """
        return self._native.expect(_listed(pattern), timeout).wait()

    def send(self, typed: Union[str, bytes], *, timeout: Limit = DEFAULT) -> None:
        r"""Types it. A line ends with ``\n``."""
        self._native.send(_bytes(typed), timeout).wait()

    def shell(
        self,
        *,
        user: Optional[str] = None,
        password: Optional[str] = None,
        prompt: Optional[Pattern] = None,
        timeout: Limit = DEFAULT,
    ) -> Shell:
        """Opens the shell on this console. With a user, it logs in first."""
        return Shell(self._native.shell(user, password, prompt, timeout).wait())

    @property
    def tail(self) -> str:
        """The last output."""
        return self._native.tail().decode("utf-8", "replace")

    @property
    def log(self) -> Optional[str]:
        """The path of the console's log, if it has one."""
        return self._native.log()


class AsyncConsole:
    """:class:`Console` for coroutines."""

    def __init__(self, native: _native.Console) -> None:
        self._native = native

    def expect(self, pattern: Patterns, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, Match]:
        """Waits until the console prints it, and goes on behind it the next time."""
        return self._native.expect(_listed(pattern), timeout)

    def send(self, typed: Union[str, bytes], *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        r"""Types it. A line ends with ``\n``."""
        return self._native.send(_bytes(typed), timeout)

    async def shell(
        self,
        *,
        user: Optional[str] = None,
        password: Optional[str] = None,
        prompt: Optional[Pattern] = None,
        timeout: Limit = DEFAULT,
    ) -> AsyncShell:
        """Opens the shell on this console. With a user, it logs in first."""
        return AsyncShell(await self._native.shell(user, password, prompt, timeout))


class Shell:
    """A shell that runs commands, one at a time."""

    def __init__(self, native: _native.Shell) -> None:
        self._native = native

    def run(self, script: str, *, timeout: Limit = DEFAULT) -> ShellOutput:
        """Runs a command or a script, and waits for its end. A status other than 0
        is no error."""
        return self._native.run(script, timeout).wait()

    def recover(self, *, timeout: Limit = DEFAULT) -> None:
        """Interrupts a command that timed out, so that the shell is usable again."""
        self._native.recover(timeout).wait()


class AsyncShell:
    """:class:`Shell` for coroutines."""

    def __init__(self, native: _native.Shell) -> None:
        self._native = native

    def run(self, script: str, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, ShellOutput]:
        """Runs a command or a script, and waits for its end."""
        return self._native.run(script, timeout)

    def recover(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Interrupts a command that timed out, so that the shell is usable again."""
        return self._native.recover(timeout)
