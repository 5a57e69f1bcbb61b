"""A connection that carries messages both ways, in asyncio.

``AsyncProtocol`` knows how a connection begins, runs and ends. A subclass says
how one message is read and written.

The states, and who may change them::

    IDLE --connect, start_server--> CONNECTING --session--> RUNNING
    CONNECTING, RUNNING, IDLE --disconnect, or a lost peer--> DISCONNECTING
    DISCONNECTING --disconnect--> IDLE
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl as ssl_module
from typing import Any, Awaitable, Coroutine, Generic, List, Optional, TypeVar

from . import _transport
from ._loggers import PROTOCOL_LOGGER, child_logger
from ._runstate import ConnectError, Runstate, StateError, check_state, require
from ._transport import InternetAddrT, SocketAddrT, UnixAddrT
from .error import QMPError
from .util import exception_summary, flush

__all__ = (
    "AsyncProtocol",
    "ConnectError",
    "InternetAddrT",
    "Runstate",
    "SocketAddrT",
    "StateError",
    "UnixAddrT",
    "require",
)

T = TypeVar("T")

#: Disconnecting waits this many seconds for a peer that does not read.
GRACE = 3.0
#: A line may have this many bytes.
MAX_LINE = 256 * 1024 * 1024


class AsyncProtocol(Generic[T]):
    """The base of a client or server that exchanges messages.

    It belongs to no event loop before it connects. After ``disconnect`` it may
    be used again, also in another loop.

    :param name: Ends the name of the logger, and appears in ``repr``.
    :param readbuflen: The size of the buffer for reading, in bytes. It is no
        limit for the size of a message.
    """

    #: Where the records go. With a name, a child of it.
    logger = PROTOCOL_LOGGER
    _limit = 64 * 1024

    def __init__(self, name: Optional[str] = None, readbuflen: int = _limit) -> None:
        self._name: Optional[str] = None
        self.name = name
        self._readbuflen = readbuflen

        self._runstate = Runstate.IDLE
        self._change: Optional[asyncio.Event] = None
        self._change_loop: Optional[asyncio.AbstractEventLoop] = None

        self._reader: Optional[asyncio.StreamReader] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        #: Messages that wait to be sent. It exists from the session's start on.
        self._outgoing: asyncio.Queue[T]

        self._server: Optional[asyncio.AbstractServer] = None
        #: Set when a peer has connected. It exists while we listen.
        self._accepted: Optional[asyncio.Event] = None

        self._reader_task: Optional[asyncio.Task[None]] = None
        self._writer_task: Optional[asyncio.Task[None]] = None
        self._end_task: Optional[asyncio.Task[Optional[BaseException]]] = None
        #: Why the session failed: the first failure of the reader or writer.
        self._failure: Optional[BaseException] = None

    def __repr__(self) -> str:
        name = f" name={self.name!r}" if self.name is not None else ""
        return f"<{type(self).__name__}{name} runstate={self.runstate.name}>"

    @property
    def name(self) -> Optional[str]:
        """The name of this connection, or None. A new one renames the logger."""
        return self._name

    @name.setter
    def name(self, name: Optional[str]) -> None:
        self._name = name
        self.logger = child_logger(type(self).logger, name)

    @property
    def runstate(self) -> Runstate:
        """The state now."""
        return self._runstate

    async def runstate_changed(self) -> Runstate:
        """Wait for the next change of the state, and return the state then."""
        await self._runstate_event.wait()
        return self.runstate

    @require(Runstate.IDLE)
    async def start_server_and_accept(
        self, address: SocketAddrT, ssl: Optional[ssl_module.SSLContext] = None
    ) -> None:
        """Listen, wait for one peer, and start the session with it.

        :raise ConnectError: Listening, or the session's start, failed.
        """
        await self.start_server(address, ssl)
        await self.accept()

    @require(Runstate.IDLE)
    async def start_server(
        self, address: SocketAddrT, ssl: Optional[ssl_module.SSLContext] = None
    ) -> None:
        """Listen. Follow it with ``accept``.

        :raise ConnectError: Listening failed.
        """
        await self._guard(self._do_start_server(address, ssl), "Failed to establish connection")

    @require(Runstate.CONNECTING)
    async def accept(self) -> None:
        """Wait for one peer, and start the session with it.

        :raise QMPError: Nothing listens.
        :raise ConnectError: The session's start failed.
        """
        if self._accepted is None:
            raise QMPError("Cannot call accept() before start_server().")
        await self._guard(self._do_accept(), "Failed to establish connection")
        await self._guard(self._establish_session(), "Failed to establish session")

    @require(Runstate.IDLE)
    async def connect(
        self, address: _transport.ConnectAddrT, ssl: Optional[ssl_module.SSLContext] = None
    ) -> None:
        """Connect, and start the session.

        :param address: A path, a pair of host and port, or a connected socket.
        :raise ConnectError: The connection, or the session's start, failed.
        """
        await self._guard(self._do_connect(address, ssl), "Failed to establish connection")
        await self._guard(self._establish_session(), "Failed to establish session")

    async def disconnect(self) -> None:
        """End the connection, and return to IDLE. Allowed in every state.

        :raise Exception: Why the session failed, if it did: the first error of
            the reader or the writer, for example EOFError.
        """
        self._schedule_disconnect()
        ending = self._end_task
        assert ending is not None
        try:
            # Another caller may wait for the same task.
            failure = await asyncio.shield(ending)
        finally:
            if ending.done() and self._end_task is ending:
                self._cleanup()
                self._set_state(Runstate.IDLE)
        if failure is not None:
            raise failure

    # What subclasses extend or replace.

    async def _establish_session(self) -> None:
        """Start the reader and the writer. The connection exists already."""
        assert self.runstate == Runstate.CONNECTING
        self._outgoing = asyncio.Queue()
        self._reader_task = self._start(self._read_messages())
        self._writer_task = self._start(self._write_messages())
        self._set_state(Runstate.RUNNING)
        await asyncio.sleep(0)  # Those that watch the state see RUNNING.

    async def _do_start_server(
        self, address: SocketAddrT, ssl: Optional[ssl_module.SSLContext] = None
    ) -> None:
        self._set_state(Runstate.CONNECTING)
        await asyncio.sleep(0)  # Those that watch the state see CONNECTING.
        self._accepted = asyncio.Event()
        self._server = await _transport.listen(address, self._incoming, ssl, self._readbuflen)
        self.logger.debug("Listening on %s", address)

    async def _do_accept(self) -> None:
        assert self._accepted is not None
        await self._accepted.wait()
        self._check_connecting()
        self._accepted = None
        # Nothing waits for the server's end: it may take as long as the session.
        self._stop_listening()

    async def _do_connect(
        self, address: _transport.ConnectAddrT, ssl: Optional[ssl_module.SSLContext] = None
    ) -> None:
        self._set_state(Runstate.CONNECTING)
        await asyncio.sleep(0)  # Those that watch the state see CONNECTING.
        self.logger.debug("Connecting to %s ...", address)
        reader, writer = await _transport.connect(address, ssl, self._readbuflen)
        try:
            self._check_connecting()
        except StateError:
            await _transport.close(writer, 0)
            raise
        self._reader, self._writer = reader, writer
        self.logger.debug("Connected.")

    async def _do_recv(self) -> T:
        """Read one message."""
        raise NotImplementedError

    def _do_send(self, msg: T) -> None:
        """Write one message into the writer's buffer."""
        raise NotImplementedError

    async def _on_message(self, msg: T) -> None:
        """Called with each message that arrives."""

    def _cb_outbound(self, msg: T) -> T:
        """Called before a message is sent. Returns the message to send."""
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("--> %s", str(msg))
        return msg

    def _cb_inbound(self, msg: T) -> T:
        """Called when a message has arrived. Returns the message to use."""
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("<-- %s", str(msg))
        return msg

    async def _bh_disconnect(self) -> None:
        """End the tasks, then close the connection. It runs in a separate task."""
        await self._end_writer_task()
        await _cancelled(self._reader_task)
        self._stop_listening()
        if self._accepted is not None:
            self._accepted.set()  # Its waiter sees that the state has changed.
        if self._writer is not None:
            await _transport.close(self._writer, GRACE if self._failure is None else 0)

    def _cleanup(self) -> None:
        """Forget everything of the ended session."""
        self._reader = self._writer = None
        self._server = self._accepted = None
        self._reader_task = self._writer_task = self._end_task = None
        self._failure = None

    # What subclasses call.

    async def _readline(self) -> bytes:
        """Read one line with its newline.

        :raise EOFError: The peer has closed the connection.
        """
        assert self._reader is not None
        return await _transport.read_line(self._reader, MAX_LINE)

    async def _recv(self) -> T:
        return self._cb_inbound(await self._do_recv())

    async def _send(self, msg: T) -> None:
        self._do_send(self._cb_outbound(msg))
        if self._writer is not None:
            await flush(self._writer)

    @property
    def _runstate_event(self) -> asyncio.Event:
        """Set for a moment at each change of the state."""
        loop = asyncio.get_running_loop()
        if self._change is None or self._change_loop is not loop:
            self._change, self._change_loop = asyncio.Event(), loop
        return self._change

    def _set_state(self, state: Runstate) -> None:
        if state == self._runstate:
            return
        self._runstate = state
        if self._change is not None:
            # Only those wake who wait now.
            self._change.set()
            self._change.clear()

    def _schedule_disconnect(self) -> None:
        """Begin to disconnect. Someone must still call ``disconnect``."""
        if self._end_task is None:
            self._note_failure()
            self._set_state(Runstate.DISCONNECTING)
            self._end_task = asyncio.get_running_loop().create_task(self._end())

    # The rest is private.

    def _check_connecting(self) -> None:
        """Raise if another task has disconnected while this one waited."""
        check_state(type(self).__name__, self.runstate, Runstate.CONNECTING)

    async def _guard(self, step: Awaitable[None], error_message: str) -> None:
        """Run one step of connecting. If it fails, return to IDLE."""
        try:
            await step
        except BaseException as err:
            if isinstance(err, Exception):
                self.logger.error("%s: %s", error_message, exception_summary(err))
            with contextlib.suppress(Exception):
                await self.disconnect()
            if isinstance(err, Exception) and not isinstance(err, ConnectError):
                raise ConnectError(error_message, err) from err
            raise

    def _incoming(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The server has accepted a connection."""
        if self._accepted is None or self._accepted.is_set():
            self.logger.warning("More than one connection: the second is closed.")
            writer.close()
            return
        self._reader, self._writer = reader, writer
        self._accepted.set()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """The reader or the writer has ended: by cancelling, or by a failure."""
        if not task.cancelled() and task.exception() is not None:
            if task in (self._reader_task, self._writer_task):
                self._schedule_disconnect()

    def _note_failure(self) -> None:
        """Keep the failure of the reader or the writer, if there is one.

        A failure after the user's ``disconnect`` is none.
        """
        for what, task in (("reader", self._reader_task), ("writer", self._writer_task)):
            if task is None or not task.done() or task.cancelled():
                continue
            self._failure = task.exception()
            if isinstance(self._failure, EOFError):
                self.logger.info("The peer has closed the connection.")
            elif self._failure is not None:
                summary = exception_summary(self._failure)
                self.logger.error("The %s failed: %s", what, summary)
            return

    async def _end(self) -> Optional[BaseException]:
        await self._bh_disconnect()
        return self._failure

    async def _read_messages(self) -> None:
        while True:
            await self._on_message(await self._recv())

    async def _write_messages(self) -> None:
        while True:
            msg = await self._outgoing.get()
            try:
                await self._send(msg)
            finally:
                self._outgoing.task_done()

    async def _end_writer_task(self) -> None:
        """Send what waits, unless the session has failed, then end the task."""
        task = self._writer_task
        if task is not None and not task.done() and self._failure is None:
            sent = asyncio.get_running_loop().create_task(self._outgoing.join())
            waits: List[asyncio.Future[None]] = [sent, task]
            await asyncio.wait(waits, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
            await _cancelled(sent)
        await _cancelled(task)


async def _cancelled(task: Optional[asyncio.Task[None]]) -> None:
    """Cancel a task, and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
