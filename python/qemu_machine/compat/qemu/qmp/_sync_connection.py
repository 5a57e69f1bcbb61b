"""The blocking connection below ``QEMUMonitorProtocol``.

``SyncConnection`` is a seam: all that ``legacy`` needs of a connection is its
public face, so another engine may take its place. It uses no event loop and no
thread. One thread at a time may use it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, Union

from . import _session
from ._blocking_stream import Deadline, LineStream, Listener, connected
from ._event_queue import EventQueue
from ._exec_errors import ExecInterruptedError, GreetingError, NegotiationError
from ._loggers import PROTOCOL_LOGGER, child_logger
from ._replies import Replies
from ._runstate import ConnectError, Runstate, check_state
from .error import ProtocolError, QMPError
from .message import DeserializationError, Message, UnexpectedTypeError
from .models import Greeting
from .util import exception_summary

Reply = Dict[str, Any]


class SyncConnection:
    """One blocking connection to a QMP server or a guest agent.

    :param address: A path, a pair of host and port, or a connected socket.
    :param server: Listen at the address at once, for ``accept``.
    :param nickname: Ends the name of the logger.
    :raise ConnectError: Listening failed.
    """

    def __init__(
        self,
        address: Union[str, Tuple[str, int], socket.socket],
        server: bool = False,
        nickname: Optional[str] = None,
    ) -> None:
        #: Whether it listens for its peer.
        self.is_server = server
        #: The state now.
        self.runstate = Runstate.IDLE
        #: The greeting of the server, or None.
        self.greeting: Optional[Greeting] = None
        #: The events that nobody has taken.
        self.events = EventQueue()
        self.logger = child_logger(PROTOCOL_LOGGER, nickname)
        self._address = address
        self._stream: Optional[LineStream] = None
        self._listener: Optional[Listener] = None
        self._replies: Replies[List[Reply]] = Replies()
        #: Why the connection ended, until a command has reported it.
        self._loss: Optional[Exception] = None
        self._is_loss_known = False
        if server:
            assert not isinstance(address, socket.socket)
            with self._establishing("Failed to establish connection"):
                self._listener = Listener(address)
            self.runstate = Runstate.CONNECTING

    def connect(self, negotiate: bool = True, timeout: Optional[float] = None) -> None:
        """Connect. Without a limit, it ends when the peer answers or closes.

        :param negotiate: Wait for the greeting, and negotiate capabilities.
        :param timeout: Seconds for connection and handshake, or None.
        :raise asyncio.TimeoutError: They have passed.
        :raise ConnectError: The connection or the handshake failed.
        """
        check_state(_OWNER, self.runstate, Runstate.IDLE)
        self.runstate = Runstate.CONNECTING
        deadline = Deadline(timeout)
        with self._establishing("Failed to establish connection"):
            self.logger.debug("Connecting to %s ...", self._address)
            sock = connected(self._address, deadline)
            if sock is None:
                raise asyncio.TimeoutError
            self._stream = LineStream(sock)
        with self._establishing("Failed to establish session"):
            self._start_session(negotiate, deadline)

    def accept(self, timeout: Optional[float], peers_end: Optional[int] = None) -> None:
        """Wait for a peer, its greeting, and the negotiation.

        :param timeout: Seconds for all of it, or None.
        :param peers_end: A descriptor that becomes readable when no peer will come.
        :raise asyncio.TimeoutError: The seconds have passed.
        :raise ConnectError: The handshake failed, or no peer will come.
        """
        check_state(_OWNER, self.runstate, Runstate.CONNECTING)
        if self._listener is None:
            raise QMPError("Cannot call accept() before start_server().")
        deadline = Deadline(timeout)
        with self._establishing("Failed to establish connection"):
            peer = self._listener.accept(deadline, peers_end)
            if peer is None:
                raise asyncio.TimeoutError
            self._stream = LineStream(peer)
            if self._listener.refuse():
                self.logger.warning("More than one connection: the second is closed.")
            self._stop_listening()
        with self._establishing("Failed to establish session"):
            self._start_session(True, deadline)

    def request(
        self, msg: Dict[str, object], timeout: Optional[float], assign_id: bool = False
    ) -> Reply:
        """Send a command, and return the whole reply, also if it is an error.

        :param assign_id: Add an id to ``msg``.
        :param timeout: Seconds, or None. The connection survives their end, and
            a late reply is dropped.
        :raise asyncio.TimeoutError: They have passed.
        :raise ExecInterruptedError: The connection has ended. Further calls raise
            StateError.
        """
        self._check_running()
        deadline = _NEVER if timeout is None else Deadline(timeout)
        msg_id: Optional[str] = None
        if assign_id:
            msg_id = msg["id"] = self._replies.next_id()
        elif "id" in msg:
            msg_id = self._replies.check_id(msg["id"])
        # What is no JSON raises here. Nearly all commands are plain, and need no copy.
        data = Message._serialize(msg) if type(msg) is dict else bytes(Message(msg))
        if self.logger.isEnabledFor(logging.DEBUG):
            self._log("-->", msg)
        answer: List[Reply] = []
        assert self._stream is not None
        queued = self._stream.queued
        # A signal may have interrupted the end of the last call.
        self._replies.abandon_all()
        try:
            self._replies.add(msg_id, answer)
            self._stream.queue(data + b"\n")
            while not answer:
                if not self._receive(deadline):
                    raise asyncio.TimeoutError
        finally:
            if self._stream is not None and self._stream.queued == queued:
                self._replies.remove(answer)
            self._replies.abandon(answer)
        return answer[0]

    def poll(self) -> None:
        """Take in what has arrived, without waiting. A lost peer is no error."""
        if self.runstate is Runstate.RUNNING:
            try:
                while self._receive(Deadline(0)):
                    pass
            except ExecInterruptedError:
                self._is_loss_known = False

    def wait_event(self, timeout: Optional[float]) -> None:
        """Wait until an event is pending.

        :raise asyncio.TimeoutError: So many seconds have passed.
        :raise ExecInterruptedError: The connection has ended. Further calls raise
            StateError.
        """
        deadline = _NEVER if timeout is None else Deadline(timeout)
        # What has arrived, and is not needed now, can wait.
        while not self.events:
            self._check_running()
            if not self._receive(deadline):
                raise asyncio.TimeoutError

    def send_fd_scm(self, fd: int) -> None:
        """Send a descriptor. The next ``getfd`` or ``add-fd`` finds it.

        :raise QMPError: The connection is no unix socket, or the peer does not
            read.
        """
        check_state(_OWNER, self.runstate, Runstate.RUNNING)
        assert self._stream is not None
        self._stream.send_fd(fd)

    def close(self) -> None:
        """Close everything, and return to IDLE. A lost peer is no error.

        :raise ProtocolError: The connection ended because the peer broke the
            protocol.
        """
        loss = self._loss
        self._release()
        if isinstance(loss, ProtocolError):
            raise loss

    # The handshake.

    def _establishing(self, error_message: str) -> _Step:
        return _Step(self, error_message)

    def _start_session(self, negotiate: bool, deadline: Deadline) -> None:
        assert self._stream is not None
        self.greeting = None
        self.events.begin_session()
        self._replies.begin_session(in_order=not negotiate)
        if negotiate:
            try:
                self.greeting = _session.greeting_of(self._next_message(deadline))
            except (KeyError, TypeError, ProtocolError) as err:
                raise GreetingError("Did not understand Greeting", err) from err
            try:
                command = _session.negotiation(self.greeting)
                self._log("-->", command)
                self._stream.queue(bytes(command) + b"\n")
                reply = self._next_message(deadline)
                _session.check_negotiation(self.greeting, reply)
            except (KeyError, TypeError, QMPError) as err:
                raise NegotiationError("Negotiation failed", err) from err
        self.runstate = Runstate.RUNNING

    def _next_message(self, deadline: Deadline) -> Reply:
        """Return the next message that is no event."""
        assert self._stream is not None
        while True:
            found = self._stream.peek_line(deadline)
            if found is None:
                raise asyncio.TimeoutError
            msg = self._parse(found[1])
            if "event" in msg:
                self.events.append(found[0], msg)
            self._stream.next_line()
            if "event" not in msg:
                return msg

    # Messages.

    def _receive(self, deadline: Deadline) -> bool:
        """Take in one message. Return whether one came before the deadline.

        :raise ExecInterruptedError: The connection has ended.
        """
        assert self._stream is not None
        try:
            found = self._stream.peek_line(deadline)
            if found is None:
                return False
            self._route(found[0], self._parse(found[1]))
            self._stream.next_line()
            return True
        except Exception as err:
            if not _is_of_connection(err):
                raise
            self._lose(err)
            raise ExecInterruptedError("Disconnected") from err

    def _route(self, number: int, msg: Reply) -> None:
        """Hand out a message. An interrupted call is repeated."""
        if "event" in msg:
            self.events.append(number, msg)
            return
        known, answer = self._replies.answer(msg, number)
        if answer is not None:
            answer.append(msg)
        elif known:
            self._log("Nobody waits for this reply any more:", msg)
        else:
            level = logging.ERROR if "error" in msg else logging.WARNING
            self.logger.log(level, "No command fits this message, dropped: %s", Message(msg))

    def _parse(self, line: bytes) -> Reply:
        try:
            # Lone surrogates do no harm.
            text = line.decode("utf-8", "surrogatepass").strip(_BLANKS)
            msg, end = _decoded(text)
            if end != len(text):
                raise ValueError("there is more after the JSON value")
        except (ValueError, RecursionError) as err:
            raw = line + b"\n"
            raise DeserializationError("Failed to deserialize QMP message.", raw) from err
        if not isinstance(msg, dict):
            raise UnexpectedTypeError("QMP message is not a JSON object.", msg)
        if self.logger.isEnabledFor(logging.DEBUG):
            self._log("<--", msg)
        return msg

    def _log(self, words: str, msg: Mapping[str, object]) -> None:
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("%s %s", words, json.dumps(dict(msg), indent=2))

    # The end.

    def _check_running(self) -> None:
        """Raise if no session runs. The loss of one is reported once as such."""
        if self.runstate is _RUNNING:
            return
        if self._loss is not None and not self._is_loss_known:
            self._is_loss_known = True
            raise ExecInterruptedError("Disconnected") from self._loss
        check_state(_OWNER, self.runstate, Runstate.RUNNING)

    def _lose(self, err: Exception) -> None:
        self.runstate = Runstate.DISCONNECTING
        self._loss = err
        self._is_loss_known = True
        self._replies.clear()
        if isinstance(err, EOFError):
            self.logger.info("The peer has closed the connection.")
        elif isinstance(err, ProtocolError):
            self.logger.error("The reader failed: %s", exception_summary(err))

    def _release(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        self._stop_listening()
        self._replies.clear()
        self._loss, self._is_loss_known = None, False
        self.runstate = Runstate.IDLE

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


class _Step:
    """Returns to IDLE if a step fails. Errors of the peer become ConnectError.

    A generator would hold the error in a cycle.
    """

    def __init__(self, connection: SyncConnection, error_message: str) -> None:
        self._connection = connection
        self._error_message = error_message

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc_val: Optional[BaseException],
        exc_tb: Optional[TracebackType],
    ) -> None:
        if exc_val is None:
            return
        self._connection._release()
        if _is_of_connection(exc_val):
            assert isinstance(exc_val, Exception)
            summary = exception_summary(exc_val)
            self._connection.logger.error("%s: %s", self._error_message, summary)
            raise ConnectError(self._error_message, exc_val) from exc_val


def _is_of_connection(err: BaseException) -> bool:
    """Return whether the address, the kernel or the peer caused an error.

    The handler of a signal may raise anything, also an OSError, but hardly one
    with a number.
    """
    if isinstance(err, OSError):
        return err.errno is not None
    return isinstance(err, (EOFError, QMPError, ValueError, OverflowError))


#: Quicker than `json.loads`, which looks for other encodings.
_decoded = json.JSONDecoder().raw_decode
_BLANKS = " \t\r\n"
_NEVER = Deadline(None)
#: Errors of state name the class that users know from the asyncio client.
_OWNER = "QMPClient"
#: An attribute of an enumeration is slow to find.
_RUNNING = Runstate.RUNNING
