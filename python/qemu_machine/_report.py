"""How a machine ended."""

from __future__ import annotations

from typing import Any, ClassVar, List, Optional, Tuple


class ExitReport:
    """Everything that is known about the end of a machine. ``str()`` gives a text."""

    __slots__ = (
        "name", "pid", "code", "signal", "core_dumped", "cause", "rungs",
        "guest_exit_code", "shutdown_reason", "guest_panicked", "uptime", "output",
        "console", "log", "survivors", "warnings", "is_failure", "was_forced", "text",
    )  # fmt: skip

    #: The machine's name.
    name: str
    #: The process id that QEMU had.
    pid: int
    #: The exit code of QEMU; ``None`` if a signal killed it.
    code: Optional[int]
    #: The signal that killed QEMU, if one did.
    signal: Optional[int]
    #: Whether QEMU left a core dump.
    core_dumped: bool
    #: Who ended it: ``"guest"``, ``"outside"``, ``"quit-command"``, or the step of
    #: the shutdown: ``"powerdown"``, ``"quit"``, ``"terminate"``, ``"kill"``.
    cause: str
    #: The steps of the shutdown, each with its outcome and its time in seconds.
    rungs: List[Tuple[str, str, float]]
    #: The code that the guest gave to an exit device.
    guest_exit_code: Optional[int]
    #: The reason in QEMU's ``SHUTDOWN`` event.
    shutdown_reason: Optional[str]
    #: Whether the guest's kernel reported a panic.
    guest_panicked: bool
    #: How long QEMU ran, in seconds.
    uptime: float
    #: The end of QEMU's own output.
    output: str
    #: The end of the console's output.
    console: str
    #: The path of the log of QEMU's output, if it is kept.
    log: Optional[str]
    #: Processes that QEMU left behind, and their end.
    survivors: List[str]
    #: What went wrong at the end.
    warnings: List[str]
    #: Whether QEMU failed: a signal, or a code other than 0 that nobody asked for.
    is_failure: bool
    #: Whether it was killed because the softer steps failed.
    was_forced: bool
    #: The report as a text.
    text: str

    def __init__(self, **fields: Any) -> None:
        for name in self.__slots__:
            setattr(self, name, fields[name])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<ExitReport: {self.text.splitlines()[0]}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExitReport):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __getstate__(self) -> Any:
        return self.to_dict()

    def __setstate__(self, state: Any) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def to_dict(self) -> dict[str, Any]:
        """All fields, for example for a JSON file."""
        return {name: getattr(self, name) for name in self.__slots__}
