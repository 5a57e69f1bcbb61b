"""A scripted peer: a QMP server or guest agent that does what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import socket
import sys
import tempfile
import threading
import unittest
from typing import Any, Callable, Iterator, List, Optional

from qemu_machine.compat import directory

from tests.commands import commands

#: The folder with the `qemu` to test. QEMU's own fails all tests of a D and a number.
FOLDER = os.environ.get("QEMU_PACKAGES") or directory()
sys.path.insert(0, FOLDER)

#: A test that takes this many seconds hangs.
HANGS = 60
VERSION = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "scripted"}


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.lines = sock.makefile("rb")
        self._commands = commands(lambda: self.lines.read1(65536))

    def read(self) -> Any:
        """Read one command. None is the end of the stream."""
        return next(self._commands, None)

    def send(self, *messages: Any) -> None:
        """Send messages, each on a line."""
        for message in messages:
            self.send_raw(json.dumps(message).encode() + b"\r\n")

    def send_raw(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def greet(self, *capabilities: str) -> None:
        """Send the greeting."""
        self.send({"QMP": {"version": VERSION, "capabilities": list(capabilities)}})

    def shake_hands(self, *capabilities: str) -> Any:
        """Greet, and accept the negotiation. Return its command."""
        self.greet(*capabilities)
        command = self.read()
        self.send({"return": {}})
        return command

    def answer(self, value: Any = None, **more: Any) -> Any:
        """Read a command, and send its return value. Return the command."""
        command = self.read()
        self.reply(command, {} if value is None else value, **more)
        return command

    def reply(self, command: Any, value: Any, **more: Any) -> None:
        """Send the return value of a command, with its id if it has one."""
        ids = {"id": command["id"]} if "id" in command else {}
        self.send({"return": value, **ids, **more})

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.lines.close()
        self.sock.close()

    def wait_for_end(self) -> None:
        """Read until the client closes."""
        with contextlib.suppress(OSError, ValueError):
            while self.lines.read(4096):
                pass


Script = Callable[[Peer], None]


class Played:
    """A script in its thread. ``join`` raises what the script raised."""

    def __init__(self, script: Script, connection: Callable[[], socket.socket]) -> None:
        self._script = script
        self._connection = connection
        self._error: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            peer = Peer(self._connection())
            try:
                self._script(peer)
                peer.wait_for_end()
            finally:
                peer.close()
        except BaseException as error:  # for join
            self._error = error


@contextlib.contextmanager
def playing(script: Script) -> Iterator[socket.socket]:
    """Play a script at one end of a socketpair, and return the other end.

    At the end of the script the peer waits for the client to close.
    """
    ours, theirs = socket.socketpair()
    played = Played(script, lambda: theirs)
    try:
        yield ours
    finally:
        ours.close()
        played.join()


@contextlib.contextmanager
def listening(script: Script) -> Iterator[str]:
    """Play a script for the first client of a unix socket. Return its path."""
    with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
        path = os.path.join(folder, "qmp")
        server.bind(path)
        server.listen(1)
        played = Played(script, lambda: server.accept()[0])
        yield path
        played.join()


@contextlib.contextmanager
def calling(script: Script, connect: Callable[[], socket.socket]) -> Iterator[None]:
    """Play a script as the peer that connects to a listening client."""
    played = Played(script, connect)
    yield
    played.join()


def to_path(path: str) -> socket.socket:
    """Connect to a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="q", dir="/tmp") as folder:
        yield folder


def event(name: str, **data: Any) -> Any:
    """An event as QEMU sends it."""
    return {
        "timestamp": {"seconds": 1, "microseconds": 2},
        "event": name,
        **({"data": data} if data else {}),
    }


def descriptors() -> List[str]:
    """The numbers of the open descriptors."""
    return os.listdir("/proc/self/fd")


class Test(unittest.TestCase):
    """A test that may block. If it hangs, the program ends with all stacks."""

    def setUp(self) -> None:
        faulthandler.dump_traceback_later(HANGS, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)


class AsyncTest(unittest.IsolatedAsyncioTestCase):
    """A test in an event loop. What the loop complains about is an error."""

    def setUp(self) -> None:
        faulthandler.dump_traceback_later(HANGS, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    async def asyncSetUp(self) -> None:
        self.complaints: List[Any] = []
        asyncio.get_running_loop().slow_callback_duration = HANGS
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: self.complaints.append(context)
        )

    async def asyncTearDown(self) -> None:
        self.assertEqual(self.complaints, [])
