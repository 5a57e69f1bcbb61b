"""The states of a connection, and the errors of connecting and of misuse."""

from __future__ import annotations

from enum import Enum
from functools import wraps
from typing import Any, Callable, TypeVar, cast

from .error import QMPError
from .util import exception_summary


class Runstate(Enum):
    """The state of a connection."""

    __module__ = "qemu.qmp.protocol"

    #: No connection, and none is being made.
    IDLE = 0
    #: A connection or a session is being made.
    CONNECTING = 1
    #: The session runs.
    RUNNING = 2
    #: The session ends, or has ended. ``disconnect`` returns to IDLE.
    DISCONNECTING = 3


class ConnectError(QMPError):
    """A connection or its session could not be made."""

    __module__ = "qemu.qmp.protocol"

    def __init__(self, error_message: str, exc: Exception) -> None:
        super().__init__(error_message, exc)
        #: What failed.
        self.error_message = error_message
        #: Why.
        self.exc = exc

    def __str__(self) -> str:
        return f"{self.error_message}: {str(self.exc) or exception_summary(self.exc)}"


class StateError(QMPError):
    """A method was called in a state that does not allow it."""

    __module__ = "qemu.qmp.protocol"

    def __init__(self, error_message: str, state: Runstate, required: Runstate) -> None:
        super().__init__(error_message, state, required)
        #: What is wrong.
        self.error_message = error_message
        #: The state of the object.
        self.state = state
        #: The state that the method needs.
        self.required = required

    def __str__(self) -> str:
        return self.error_message


_F = TypeVar("_F", bound=Callable[..., Any])


def check_state(owner: str, state: Runstate, required: Runstate) -> None:
    """Raise StateError if the state is not the required one."""
    if state is not required:
        raise StateError(f"{owner} is {_WORDS[state]}", state, required)


def require(required_state: Runstate) -> Callable[[_F], _F]:
    """Make a method raise StateError in every other state.

    It raises when it is called, also if the method is a coroutine.
    """

    def decorate(func: _F) -> _F:
        @wraps(func)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            check_state(type(self).__name__, self.runstate, required_state)
            return func(self, *args, **kwargs)

        return cast(_F, checked)

    return decorate


_WORDS = {
    Runstate.IDLE: "disconnected and idle.",
    Runstate.CONNECTING: "currently connecting.",
    Runstate.RUNNING: "already connected and running.",
    Runstate.DISCONNECTING: "disconnecting. Call disconnect() to return to IDLE state.",
}
