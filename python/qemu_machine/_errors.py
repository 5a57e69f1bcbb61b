"""The exceptions of this package. Each can be pickled, with its attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, Type

from ._advice import in_our_words

if TYPE_CHECKING:
    from ._display import Screenshot
    from ._report import ExitReport


class QemuMachineError(Exception):
    """Something failed. The text says what, why, and what to do."""

    #: What kind of failure it is, such as ``"timeout"``, ``"ended"``, ``"refused"``.
    kind: str = "system"
    #: How the machine ended, if its end is the reason.
    report: Optional[ExitReport] = None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(in_our_words(message))
        if details.get("advice"):
            details["advice"] = in_our_words(details["advice"])
        self.__dict__.update(details)

    def __reduce__(self) -> Tuple[Callable[..., Any], Tuple[Any, ...]]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    of: Type[QemuMachineError], args: Tuple[Any, ...], details: Any
) -> QemuMachineError:
    error = of.__new__(of)
    error.args = args
    error.__dict__.update(details)
    return error


class Timeout(QemuMachineError, TimeoutError):
    """A time limit passed. What was waited for may still happen later."""


class MachineEnded(QemuMachineError):
    """The machine ended, or the connection to it. ``report`` says how."""


class GuestCrashed(MachineEnded):
    """The guest panicked, or QEMU failed."""


class LaunchError(QemuMachineError):
    """The machine cannot be launched. Nothing of it is left."""

    #: QEMU's command line, if there is one.
    argv: Optional[List[str]] = None
    #: What to do.
    advice: Optional[str] = None


class LaunchTimeout(LaunchError, Timeout):
    """QEMU did not start in time."""


class AccelError(QemuMachineError):
    """No accelerator works. The text says for each of them why."""


class ConnectError(QemuMachineError):
    """The connection cannot be made."""


class ConnectTimeout(ConnectError, Timeout):
    """The server did not accept or greet in time."""


class CommandError(QemuMachineError):
    """QEMU or the guest agent refused a command."""

    #: The name of the command.
    command: str = ""
    #: The class of the error, such as ``"GenericError"`` or ``"CommandNotFound"``.
    class_: str = ""
    #: The description of the error.
    desc: str = ""


class MonitorError(QemuMachineError):
    """A command was not executed, or its reply cannot be read."""


class EventsLost(MonitorError):
    """The subscription was not read for a long time, and lost its oldest events."""

    #: How many events are lost.
    missed: int = 0


class ConsoleError(QemuMachineError):
    """Nothing can be sent to the console."""


class ExpectError(ConsoleError):
    """The console cannot be searched."""

    #: What the console printed and no search has passed yet.
    console: str = ""
    #: How long the call waited, in seconds.
    waited: float = 0.0


class ExpectTimeout(ExpectError, Timeout):
    """The console did not print it in time."""


class ShellError(ConsoleError):
    """The shell cannot be opened, or cannot run the command."""

    #: What the console printed.
    console: str = ""
    #: How long the call waited, in seconds.
    waited: float = 0.0


class ShellTimeout(ShellError, Timeout):
    """The shell did not answer in time. ``Shell.recover()`` makes it usable again."""


class AgentError(QemuMachineError):
    """The guest agent cannot do it."""


class AgentTimeout(AgentError, Timeout):
    """The guest agent did not answer in time."""


class QtestError(QemuMachineError):
    """A command of qtest failed, or was not sent."""


class QtestTimeout(QtestError, Timeout):
    """QEMU did not answer a command of qtest in time."""


class DisplayError(QemuMachineError):
    """There is no picture of the display, or not the expected one."""

    #: The last picture, if one was taken.
    last: Optional[Screenshot] = None


class DisplayTimeout(DisplayError, Timeout):
    """No picture was taken in time, or the expected one did not appear."""


class ForwardError(QemuMachineError):
    """The machine has no such forwarded port."""


class MoveError(QemuMachineError):
    """The guest was not saved, loaded or moved."""


class MoveTimeout(MoveError, Timeout):
    """It was not done in time. A save or a move was cancelled; a load continues."""


class SnapshotError(QemuMachineError):
    """The snapshot cannot be saved, loaded, deleted or listed."""


class SnapshotTimeout(SnapshotError, Timeout):
    """It was not done in time, and continues."""


class InputError(QemuMachineError):
    """A key was not pressed, or the mouse was not moved."""


class InputTimeout(InputError, Timeout):
    """The guest did not read the keyboard or the mouse in time."""

    #: How many keys or moves were sent.
    done: int = 0


class TemplateError(QemuMachineError):
    """A template cannot be made or opened."""


class TemplateTimeout(TemplateError, Timeout):
    """The template was not made in time, by this process or another."""


class WakeError(QemuMachineError):
    """The guest of a clone did not get its own identity."""


class WakeTimeout(WakeError, Timeout):
    """The guest did not take its identity in time."""


class ShutdownError(QemuMachineError):
    """The machine did not stop as asked, and was killed."""


class ForkError(QemuMachineError):
    """It belongs to the process that forked this one."""


class NotRunning(QemuMachineError):
    """The machine was not launched yet."""
