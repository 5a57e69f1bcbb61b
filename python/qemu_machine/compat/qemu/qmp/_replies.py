"""Which command a reply answers. Pure: no sockets, and no waiting."""

from __future__ import annotations

from typing import Generic, List, Mapping, Optional, Tuple, TypeVar

from .error import ProtocolError
from .message import Message

W = TypeVar("W")

#: Ids of this shape are the client's own.
RESERVED = "__qmp#"


class ServerParseError(ProtocolError):
    """The server could not read what it was sent, so no command fits its reply."""

    def __init__(self, error_message: str, msg: Message) -> None:
        super().__init__(error_message, msg)
        #: The reply.
        self.msg = msg

    def __str__(self) -> str:
        return f"{self.error_message}\n  Message was: {self.msg}\n"


class _Command(Generic[W]):
    """A command that was sent. Nobody waits for it any more if it has no waiter."""

    def __init__(self, msg_id: Optional[str], waiter: Optional[W]) -> None:
        self.msg_id = msg_id
        self.waiter = waiter


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
        if any(command.msg_id == msg_id for command in self._sent):
            raise ValueError(f"ID '{msg_id}' is in use.")
        return msg_id

    def add(self, msg_id: Optional[str], waiter: W) -> None:
        """A command is about to be sent.

        :raise ValueError: It has no id, and neither has another that waits.
        """
        waiting = (c.msg_id for c in self._sent if c.waiter is not None)
        if msg_id is None and None in waiting:
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

    def clear(self) -> List[W]:
        """Forget all commands. Return those who wait."""
        waiters = [c.waiter for c in self._sent if c.waiter is not None]
        self._sent = []
        return waiters

    def answer(self, reply: Mapping[str, object]) -> Tuple[bool, Optional[W]]:
        """Take out the command that this reply answers.

        Return whether there was one, and who waits for it.

        :raise ServerParseError: An error without an id, and no command without
            an id was sent.
        """
        index = self._find(reply)
        if index is None:
            if "id" not in reply and "error" in reply and "return" not in reply:
                raise ServerParseError(
                    "Server sent an error response without an ID, but there is no"
                    " command without an ID. Its parser rejected something.",
                    reply if isinstance(reply, Message) else Message(reply),
                )
            return False, None
        command = self._sent.pop(index)
        if self.in_order:
            # What is older and abandoned gets no reply any more.
            older, newer = self._sent[:index], self._sent[index:]
            self._sent = [c for c in older if c.waiter is not None] + newer
        return True, command.waiter

    def _find(self, reply: Mapping[str, object]) -> Optional[int]:
        if "id" in reply:
            fits = (i for i, c in enumerate(self._sent) if c.msg_id == reply["id"])
            return next(fits, None)
        if self.in_order:
            return 0 if self._sent else None
        return next((i for i, c in enumerate(self._sent) if c.msg_id is None), None)
