"""Which command a reply answers. Pure: no sockets, and no waiting."""

from __future__ import annotations

from typing import Generic, List, Mapping, Optional, Tuple, TypeVar

from .error import ProtocolError
from .message import Message

W = TypeVar("W")

#: Ids of this shape are the client's own.
RESERVED = "__qmp#"
#: Of the commands that nobody waits for, so many have entries of their own.
MAX_LATE = 100


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

    __slots__ = ("msg_id", "waiter", "answer", "times")

    def __init__(
        self,
        msg_id: Optional[str],
        waiter: Optional[W],
        answer: Optional[int] = None,
        times: int = 1,
    ) -> None:
        self.msg_id = msg_id
        self.waiter = waiter
        #: The number of its reply. None before it.
        self.answer = answer
        #: Stands for so many commands. Those of more than one are abandoned, and
        #: their ids are forgotten.
        self.times = times


class Replies(Generic[W]):
    """The commands that have no reply yet, in the order of sending.

    A command that nobody waits for any more stays, because its late reply may
    carry no id. It must not answer the next command. Past a hundred such commands
    the oldest are only counted. A late reply with an id of ours needs no memory.

    :param in_order: The server may leave out ids, and answers in order. Old
        guest agents do.
    """

    def __init__(self, in_order: bool = False) -> None:
        self.in_order = in_order
        self._sent: List[_Command[W]] = []
        self._counter = 0
        #: The number of commands that makes `add` count the oldest.
        self._fold_at = 2 * MAX_LATE

    def begin_session(self, in_order: bool) -> None:
        """Forget the commands of the last session. Ids go on.

        Nobody may wait any more.
        """
        self.in_order = in_order
        self._sent = []
        self._fold_at = 2 * MAX_LATE

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
        if len(self._sent) >= self._fold_at:
            self._sent = self._folded()
            self._fold_at = len(self._sent) + MAX_LATE
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
            if self._is_late(reply):
                return True, None
            if "id" not in reply and "error" in reply and "return" not in reply:
                raise ServerParseError(
                    "Server sent an error response without an ID, but there is no"
                    " command without an ID. Its parser rejected something.",
                    reply if isinstance(reply, Message) else Message(reply),
                )
            return False, None
        self._sent = self._left(command, number)
        return True, command.waiter

    def _is_late(self, reply: Mapping[str, object]) -> bool:
        """Return whether a reply has an id that was given, and is not awaited."""
        msg_id = reply.get("id")
        if not isinstance(msg_id, str) or not msg_id.startswith(RESERVED):
            return False
        number = msg_id[len(RESERVED) :]
        # A server may send any text, and a number of any length.
        return number.isdecimal() and len(number) < 20 and int(number) < self._counter

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

    def _left(self, answered: _Command[W], number: Optional[int]) -> List[_Command[W]]:
        """The commands to remember after an answer.

        One that a numbered reply has answered stays until the next answer. It comes
        first.
        """
        left: List[_Command[W]] = []
        if number is not None:
            left.append(_Command(answered.msg_id, answered.waiter, number))
        # What is older and abandoned gets no reply any more.
        is_over = self.in_order
        for command in self._sent:
            if command is answered:
                is_over = False
                if command.times > 1:
                    left.append(_Command(None, None, times=command.times - 1))
            elif command.answer is None and not (is_over and command.waiter is None):
                left.append(command)
        return left

    def _folded(self) -> List[_Command[W]]:
        """The commands, with the oldest of those abandoned only counted."""
        is_late = [c.waiter is None and c.answer is None for c in self._sent]
        surplus = sum(is_late) - MAX_LATE
        left: List[_Command[W]] = []
        for command, late in zip(self._sent, is_late):
            surplus -= late
            if not late or surplus < 0:
                left.append(command)
            elif self.in_order or command.msg_id is None:
                # A reply without an id may answer it. The order stays.
                times = command.times
                if left and left[-1].waiter is None and left[-1].answer is None:
                    times += left.pop().times
                left.append(_Command(None, None, times=times))
        return left
