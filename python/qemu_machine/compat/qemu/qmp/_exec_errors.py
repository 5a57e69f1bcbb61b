"""The errors of the handshake and of commands."""

from __future__ import annotations

from typing import Mapping

from .error import ProtocolError, QMPError
from .message import Message
from .models import ErrorResponse


class _WrappedError(ProtocolError):
    """Another error, and what it meant."""

    def __init__(self, error_message: str, exc: Exception) -> None:
        super().__init__(error_message, exc)
        #: The cause.
        self.exc = exc

    def __str__(self) -> str:
        return f"{self.error_message}: {self.exc}"


class GreetingError(_WrappedError):
    """The greeting is no greeting."""

    __module__ = "qemu.qmp.qmp_client"


class NegotiationError(_WrappedError):
    """The server refused the capabilities, or its answer is no reply."""

    __module__ = "qemu.qmp.qmp_client"


class ExecuteError(QMPError):
    """The server's reply to a command is an error. The text is QEMU's."""

    __module__ = "qemu.qmp.qmp_client"

    def __init__(self, error_response: ErrorResponse, sent: Message, received: Message) -> None:
        super().__init__(error_response, sent, received)
        #: The reply, checked.
        self.error: ErrorResponse = error_response
        #: The command.
        self.sent: Message = sent
        #: The reply.
        self.received: Message = received
        #: The error class, for example ``GenericError``.
        self.error_class: str = error_response.error.class_

    def __str__(self) -> str:
        return self.error.error.desc


class ExecInterruptedError(QMPError):
    """The connection ended before the reply came."""

    __module__ = "qemu.qmp.qmp_client"


class BadReplyError(ProtocolError):
    """The reply to a command is malformed."""

    __module__ = "qemu.qmp.qmp_client"

    def __init__(self, error_message: str, msg: Message, sent: Message) -> None:
        super().__init__(error_message, msg, sent)
        #: The reply.
        self.msg = msg
        #: The command.
        self.sent = sent

    def __str__(self) -> str:
        return f"{self.error_message}\n  Message was: {self.msg}\n"


def return_value(sent: Mapping[str, object], received: Mapping[str, object]) -> object:
    """Return the return value of a reply.

    :raise ExecuteError: The reply is an error.
    :raise BadReplyError: The reply is malformed.
    """
    if "error" not in received and "return" in received:
        return received["return"]
    command, reply = _message(sent), _message(received)
    if "error" not in received:
        raise BadReplyError("QMP reply has no 'return' and no 'error' member", reply, command)
    try:
        error = ErrorResponse(received)
    except (KeyError, TypeError) as err:
        raise BadReplyError("QMP error reply is malformed", reply, command) from err
    raise ExecuteError(error, command, reply)


def _message(value: Mapping[str, object]) -> Message:
    return value if isinstance(value, Message) else Message(value)
