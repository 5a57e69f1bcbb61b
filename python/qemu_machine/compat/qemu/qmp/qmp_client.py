"""The asyncio client of QMP."""

from __future__ import annotations

import asyncio
import logging
from typing import List, Mapping, Optional, Union

from . import _transport
from ._exec_errors import (
    BadReplyError,
    ExecInterruptedError,
    ExecuteError,
    GreetingError,
    NegotiationError,
    return_value,
)
from ._replies import Replies, ServerParseError
from ._session import check_negotiation, greeting_of, negotiation
from .error import ProtocolError, QMPError
from .events import Events
from .message import DeserializationError, Message
from .models import Greeting
from .protocol import AsyncProtocol, Runstate, require
from .util import exception_summary

__all__ = (
    "BadReplyError",
    "ExecInterruptedError",
    "ExecuteError",
    "GreetingError",
    "NegotiationError",
    "QMPClient",
    "ServerParseError",
)


class QMPClient(AsyncProtocol[Message], Events):
    """A client of one QMP server, or of a guest agent.

    For a guest agent, set ``await_greeting`` and ``negotiate`` to False before
    connecting. Its replies may then lack ids.

    :param name: Ends the name of the logger, and appears in ``repr``.
    :param readbuflen: The size of the buffer for reading, in bytes. Longer
        messages are read as well.
    """

    _limit = 10 * 1024 * 1024

    def __init__(self, name: Optional[str] = None, readbuflen: int = _limit) -> None:
        super().__init__(name, readbuflen)
        Events.__init__(self)
        #: Whether ``connect`` and ``accept`` wait for the greeting.
        self.await_greeting = True
        #: Whether they negotiate capabilities. This needs the greeting.
        self.negotiate = True
        self._greeting: Optional[Greeting] = None
        self._pending: Replies[asyncio.Future[Message]] = Replies()

    @property
    def greeting(self) -> Optional[Greeting]:
        """The greeting of the server, or None before it."""
        return self._greeting

    @classmethod
    def make_execute_msg(
        cls, cmd: str, arguments: Optional[Mapping[str, object]] = None, oob: bool = False
    ) -> Message:
        """Return the message of a command, without an id.

        :param arguments: None leaves them out. An empty mapping is sent.
        :param oob: Execute it out of band.
        """
        msg = Message({"exec-oob" if oob else "execute": cmd})
        if arguments is not None:
            msg["arguments"] = arguments
        return msg

    @require(Runstate.RUNNING)
    async def execute(
        self, cmd: str, arguments: Optional[Mapping[str, object]] = None, oob: bool = False
    ) -> object:
        """Execute a command, and return its return value.

        :raise ExecuteError: The reply is an error.
        :raise ExecInterruptedError: The connection ended before the reply.
        """
        return await self.execute_msg(self.make_execute_msg(cmd, arguments, oob))

    @require(Runstate.RUNNING)
    async def execute_msg(self, msg: Message) -> object:
        """Execute the command of a message, and return its return value.

        The message itself is not changed.

        :raise ValueError: It is no command.
        :raise ExecuteError: The reply is an error.
        :raise ExecInterruptedError: The connection ended before the reply.
        """
        if "execute" not in msg and "exec-oob" not in msg:
            raise ValueError("Requires 'execute' or 'exec-oob' message")
        sent = Message(msg)
        return return_value(sent, await self._execute(sent))

    @require(Runstate.RUNNING)
    async def _raw(
        self, msg: Union[Message, Mapping[str, object], bytes], assign_id: bool = True
    ) -> Message:
        """Send a message, and return the whole reply, also if it is an error.

        :param assign_id: Give it an id unless it has one.
        :raise TypeError: It has an id that is no string.
        :raise ValueError: Its id is reserved or in use, or it is the second
            command without an id.
        """
        return await self._execute(Message(msg), assign_id)

    @require(Runstate.RUNNING)
    def send_fd_scm(self, fd: int) -> None:
        """Send a descriptor. The next ``getfd`` or ``add-fd`` finds it.

        :raise QMPError: The connection is no unix socket, or the peer does not
            read.
        """
        assert self._writer is not None
        _transport.send_fd(self._writer, fd)

    async def _establish_session(self) -> None:
        self._greeting = None
        wants_greeting = self.await_greeting or self.negotiate
        self._pending.begin_session(in_order=not wants_greeting)
        if wants_greeting:
            self._greeting = await self._receive_greeting()
        if self._greeting is not None and self.negotiate:
            await self._negotiate(self._greeting)
        await super()._establish_session()

    async def _receive_greeting(self) -> Greeting:
        try:
            return greeting_of(await self._receive_past_events())
        except Exception as err:
            self.logger.error("Failed to receive Greeting: %s", exception_summary(err))
            if isinstance(err, (KeyError, TypeError, ProtocolError)):
                raise GreetingError("Did not understand Greeting", err) from err
            raise

    async def _negotiate(self, greeting: Greeting) -> None:
        try:
            await self._send(negotiation(greeting))
            check_negotiation(greeting, await self._receive_past_events())
        except Exception as err:
            self.logger.error("Negotiation failed: %s", exception_summary(err))
            if isinstance(err, (KeyError, TypeError, QMPError)):
                raise NegotiationError("Negotiation failed", err) from err
            raise

    async def _receive_past_events(self) -> Message:
        """Receive a message, and dispatch the events before it."""
        while True:
            msg = await self._recv()
            if "event" not in msg:
                return msg
            await self._event_dispatch(msg)

    async def _execute(self, msg: Message, assign_id: bool = True) -> Message:
        """Send a command, and wait for its reply. A cancelled call forgets it."""
        reply = self._issue(msg, assign_id)
        try:
            return await reply
        finally:
            self._pending.abandon(reply)

    def _get_exec_id(self) -> str:
        """Return the id of the next command. No two commands of a client share one."""
        return self._pending.next_id()

    def _issue(self, msg: Message, assign_id: bool = True) -> asyncio.Future[Message]:
        """Queue a command, and return the future of its reply."""
        msg_id: Optional[str] = None
        if "id" in msg:
            msg_id = self._pending.check_id(msg["id"])
        elif assign_id:
            msg_id = msg["id"] = self._get_exec_id()
        bytes(msg)  # What is no JSON must raise here, and not in the writer.
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending.add(msg_id, reply)
        self._outgoing.put_nowait(msg)
        return reply

    async def _on_message(self, msg: Message) -> None:
        if "event" in msg:
            await self._event_dispatch(msg)
            return
        known, reply = self._pending.answer(msg)
        if reply is not None:
            if not reply.done():
                reply.set_result(msg)
        elif known:
            self.logger.debug("Nobody waits for this reply any more: %s", msg)
        else:
            level = logging.ERROR if "error" in msg else logging.WARNING
            self.logger.log(level, "No command fits this message, dropped: %s", msg)

    async def _do_recv(self) -> Message:
        line = await self._readline()
        try:
            return Message(line)
        except DeserializationError:
            if not line.endswith(b"\n"):
                raise EOFError from None  # The peer died within a message.
            raise

    def _do_send(self, msg: Message) -> None:
        assert self._writer is not None
        self._writer.write(bytes(msg) + b"\n")

    async def _bh_disconnect(self) -> None:
        try:
            await super()._bh_disconnect()
        finally:
            self._interrupt()

    def _interrupt(self) -> None:
        """Wake all commands that have no reply."""
        waiting: List[asyncio.Future[Message]] = self._pending.clear()
        for reply in waiting:
            if not reply.done():
                error = ExecInterruptedError("Disconnected")
                error.__cause__ = self._failure
                reply.set_exception(error)
