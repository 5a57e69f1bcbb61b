"""Which command a reply answers. Pure: no sockets, and no waiting."""

from __future__ import annotations

from typing import Generic, List, Mapping, Optional, Tuple, TypeVar

from .error import ProtocolError
from .message import Message

W = TypeVar("W")

#: Ids of this shape are the client's own.
RESERVED = "__qmp#"
_UNNUMBERED = -1


class ServerParseError(ProtocolError):
    """The server could not read what it was sent, so no command fits its reply."""

    __module__ = "qemu.qmp.qmp_client"

    def __init__(self, error_message: str, msg: Message) -> None:
        super().__init__(error_message, msg)
        #: The reply.
        self.msg = msg

    def __str__(self) -> str:
        return f"{self.error_message}\n  Message was: {self.msg}\n"


class _Command(Generic[W]):
    """A command that was sent. Nobody waits for it any more if it has no waiter."""

    __slots__ = ("msg_id", "waiter", "answer")

    def __init__(self, msg_id: Optional[str], waiter: Optional[W]) -> None:
        self.msg_id = msg_id
        self.waiter = waiter
        #: The number of its reply. None before it.
        self.answer: Optional[int] = None


class Replies(Generic[W]):
    """The commands that have no reply yet, in the order of sending.

    A command that nobody waits for any more stays, because its late reply may
    carry no id. It must not answer the next command.

    :param in_order: The server may leave out ids, and answers in order. Old
        guest agents do.
    """

    def __init__(self, in_order: bool = False) -> None:
        self.in_order = in_order
        self._sent: List[_Command[W]] = []
        self._counter = 0

    def begin_session(self, in_order: bool) -> None:
        """Forget the commands of the last session. Ids go on.

        Nobody may wait any more.
        """
        self.in_order = in_order
        self._sent = []

    def next_id(self) -> str:
        """Return an id that was never used here."""
        number, self._counter = self._counter, self._counter + 1
        return f"{RESERVED}{number:05d}"

    def check_id(self, msg_id: object) -> str:
        """Return an id of the user's if it may be used.

        :raise TypeError: It is no string.
        :raise ValueError: It is reserved, or in use.
        """
        if not isinstance(msg_id, str):
            raise TypeError(f"ID ('{msg_id}') must be a string.")
        if msg_id.startswith(RESERVED):
            raise ValueError(f"ID ('{msg_id}') must not begin with '{RESERVED}'.")
        if msg_id in [c.msg_id for c in self._sent if c.answer is None]:
            raise ValueError(f"ID '{msg_id}' is in use.")
        return msg_id

    def add(self, msg_id: Optional[str], waiter: W) -> None:
        """A command is about to be sent.

        :raise ValueError: It has no id, and neither has another that waits.
        """
        if msg_id is None:
            for command in self._sent:
                is_waiting = command.answer is None and command.waiter is not None
                if command.msg_id is None and is_waiting:
                    raise ValueError("Only one command without an ID may wait at a time.")
        self._sent.append(_Command(msg_id, waiter))

    def remove(self, waiter: W) -> None:
        """A command was not sent after all."""
        self._sent = [c for c in self._sent if c.waiter is not waiter]

    def abandon(self, waiter: W) -> None:
        """Nobody waits for this command any more."""
        for command in self._sent:
            if command.waiter is waiter:
                command.waiter = None

    def abandon_all(self) -> None:
        """Nobody waits for any command any more."""
        for command in self._sent:
            command.waiter = None

    def clear(self) -> List[W]:
        """Forget all commands. Return those who wait."""
        waiters = [c.waiter for c in self._sent if c.waiter is not None]
        self._sent = []
        return waiters

    def answer(
        self, reply: Mapping[str, object], number: Optional[int] = None
    ) -> Tuple[bool, Optional[W]]:
        """Find the command that this reply answers, and forget it.

        Return whether there is one, and who waits for it.

        :param number: The reply's number. The same reply may be given again
            after an interruption.
        :raise ServerParseError: An error without an id, and no command without
            an id was sent.
        """
        command = self._find(reply, number)
        if command is None:
            if "id" not in reply and "error" in reply and "return" not in reply:
                raise ServerParseError(
                    "Server sent an error response without an ID, but there is no"
                    " command without an ID. Its parser rejected something.",
                    reply if isinstance(reply, Message) else Message(reply),
                )
            return False, None
        command.answer = _UNNUMBERED if number is None else number
        self._sent = self._left(command)
        return True, command.waiter

    def _find(self, reply: Mapping[str, object], number: Optional[int]) -> Optional[_Command[W]]:
        """The command that this very reply has answered, or the first that it fits."""
        has_id = "id" in reply
        # No generators: a handler's exception would be lost at their end.
        for command in self._sent:
            if command.answer is not None:
                if command.answer == number:
                    return command
            elif has_id:
                if command.msg_id == reply["id"]:
                    return command
            elif self.in_order or command.msg_id is None:
                return command
        return None

    def _left(self, answered: _Command[W]) -> List[_Command[W]]:
        """The commands to remember after an answer.

        One that a numbered reply has answered stays until the next answer. It comes
        first.
        """
        left = [answered] if answered.answer != _UNNUMBERED else []
        # What is older and abandoned gets no reply any more.
        is_over = self.in_order
        for command in self._sent:
            if command is answered:
                is_over = False
            elif command.answer is None and not (is_over and command.waiter is None):
                left.append(command)
        return left
