"""Virtual machines of QEMU, from their launch to their end.

    from qemu_machine import Machine

    with Machine("qemu-system-x86_64", memory="256M", console=True) as vm:
        print(vm.qmp.execute("query-status"))
        vm.console.expect("login: ", timeout=60)

``qemu_machine.compat`` replaces the packages ``qemu.qmp`` and ``qemu.utils``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from ._agent import AsyncGuestAgent, ExecOutput, GuestAgent, connect_agent
    from ._console import AsyncConsole, AsyncShell, Console, Match, Shell, ShellOutput
    from ._display import AsyncDisplay, Display, Screenshot, Tolerance
    from ._errors import (
        AccelError,
        AgentError,
        AgentTimeout,
        CommandError,
        ConnectError,
        ConnectTimeout,
        ConsoleError,
        DisplayError,
        DisplayTimeout,
        EventsLost,
        ExpectError,
        ExpectTimeout,
        ForkError,
        ForwardError,
        GuestCrashed,
        InputError,
        InputTimeout,
        LaunchError,
        LaunchTimeout,
        MachineEnded,
        MonitorError,
        MoveError,
        MoveTimeout,
        NotRunning,
        QemuMachineError,
        QtestError,
        QtestTimeout,
        ShellError,
        ShellTimeout,
        ShutdownError,
        SnapshotError,
        SnapshotTimeout,
        TemplateError,
        TemplateTimeout,
        Timeout,
        WakeError,
        WakeTimeout,
    )
    from ._input import AsyncKeyboard, AsyncMouse, Keyboard, Mouse
    from ._limits import DEFAULT
    from ._async_machine import AsyncMachine
    from ._machine import Machine, best_accel
    from ._migration import MigrationReport, Snapshot
    from ._monitor import (
        AsyncEvents,
        AsyncQmp,
        Event,
        Events,
        Qmp,
        connect,
        connect_aio,
    )
    from ._native import Firmware, Identity, UserNet, tiny_guest
    from ._qtest import AsyncQtest, Qtest
    from ._report import ExitReport
    from ._template import Clone, Pool, StoredTemplate, Template, TemplateStore

__version__ = "0.1.0"

# Where each name is. Nothing is imported before its first use, so that
# `qemu_machine.compat` does not need the Rust part.
_NAMES = {
    "_agent": ("AsyncGuestAgent", "ExecOutput", "GuestAgent", "connect_agent"),
    "_console": ("AsyncConsole", "AsyncShell", "Console", "Match", "Shell", "ShellOutput"),
    "_display": ("AsyncDisplay", "Display", "Screenshot", "Tolerance"),
    "_errors": (
        "AccelError", "AgentError", "AgentTimeout", "CommandError", "ConnectError",
        "ConnectTimeout", "ConsoleError", "DisplayError", "DisplayTimeout", "EventsLost", "ExpectError", "ExpectTimeout",
        "ForkError", "ForwardError", "GuestCrashed", "InputError", "InputTimeout", "LaunchError",
        "LaunchTimeout", "MachineEnded", "MonitorError", "MoveError", "MoveTimeout", "NotRunning", "QemuMachineError", "QtestError", "QtestTimeout", "ShellError", "ShellTimeout",
        "ShutdownError", "SnapshotError", "SnapshotTimeout", "TemplateError", "TemplateTimeout", "Timeout", "WakeError",
        "WakeTimeout",
    ),
    "_input": ("AsyncKeyboard", "AsyncMouse", "Keyboard", "Mouse"),
    "_limits": ("DEFAULT",),
    "_async_machine": ("AsyncMachine",),
    "_machine": ("Machine", "best_accel"),
    "_migration": ("MigrationReport", "Snapshot"),
    "_monitor": (
        "AsyncEvents", "AsyncQmp", "Event", "Events", "Qmp", "connect", "connect_aio",
    ),
    "_native": ("Firmware", "Identity", "UserNet", "tiny_guest"),
    "_qtest": ("AsyncQtest", "Qtest"),
    "_report": ("ExitReport",),
    "_template": ("Clone", "Pool", "StoredTemplate", "Template", "TemplateStore"),
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AccelError", "AgentError", "AgentTimeout", "AsyncConsole", "AsyncDisplay", "AsyncEvents",
    "AsyncGuestAgent", "AsyncKeyboard", "AsyncMachine", "AsyncMouse", "AsyncQmp",
    "AsyncQtest", "AsyncShell", "Clone", "CommandError", "ConnectError", "ConnectTimeout", "Console",
    "ConsoleError", "DEFAULT", "Display", "DisplayError", "DisplayTimeout", "Event", "Events", "EventsLost",
    "ExecOutput", "ExitReport", "ExpectError", "ExpectTimeout", "Firmware", "ForkError", "ForwardError",
    "GuestAgent", "GuestCrashed", "Identity", "InputError", "InputTimeout", "Keyboard",
    "LaunchError", "LaunchTimeout", "Machine", "MachineEnded", "Match", "MigrationReport", "MonitorError",
    "Mouse", "MoveError", "MoveTimeout", "NotRunning", "Pool", "QemuMachineError", "Qmp", "Qtest", "QtestError",
    "QtestTimeout", "Screenshot", "Shell",
    "ShellError", "ShellOutput", "ShellTimeout", "ShutdownError", "Snapshot", "SnapshotError", "SnapshotTimeout", "StoredTemplate",
    "Template", "TemplateError", "TemplateStore", "TemplateTimeout", "Timeout", "Tolerance", "UserNet",
    "WakeError", "WakeTimeout", "best_accel", "connect", "connect_agent", "connect_aio",
    "tiny_guest",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> List[str]:
    from importlib.util import find_spec

    # Tools take every name that is listed here. In the source tree, the Rust part is
    # not built.
    has_rust_part = find_spec(f"{__name__}._native") is not None
    return sorted({*globals(), *(__all__ if has_rust_part else ())})
