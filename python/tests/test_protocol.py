"""AsyncProtocol: states, listening, lost peers, and the end."""

import asyncio
import logging
import os
import socket
from typing import Any, List
from unittest import mock

from tests.scripted import AsyncTest, Peer, calling, descriptors, playing, scratch, to_path

from qemu.qmp import ConnectError, QMPClient, QMPError, Runstate, StateError
from qemu.qmp.protocol import AsyncProtocol


class Lines(AsyncProtocol[str]):
    """Messages are lines."""

    def __init__(self, name: Any = None) -> None:
        super().__init__(name)
        self.received: List[str] = []
        self.arrived = asyncio.Event()

    async def _do_recv(self) -> str:
        return (await self._readline()).decode().rstrip("\n")

    def _do_send(self, msg: str) -> None:
        assert self._writer is not None
        self._writer.write(msg.encode() + b"\n")

    async def _on_message(self, msg: str) -> None:
        self.received.append(msg)
        self.arrived.set()

    async def say(self, text: str) -> None:
        await self._outgoing.put(text)


async def states(protocol: Any, until: Runstate) -> List[Runstate]:
    """The states from now on."""
    seen = []
    while not seen or seen[-1] is not until:
        seen.append(await protocol.runstate_changed())
    return seen


class States(AsyncTest):
    async def test_a_watcher_sees_every_state(self) -> None:
        protocol = Lines()
        watcher = asyncio.ensure_future(states(protocol, Runstate.IDLE))
        await asyncio.sleep(0)
        with playing(lambda peer: None) as sock:
            await protocol.connect(sock)
            self.assertEqual(protocol.runstate, Runstate.RUNNING)
            await protocol.disconnect()
        expected = ["CONNECTING", "RUNNING", "DISCONNECTING", "IDLE"]
        self.assertEqual([state.name for state in await watcher], expected)

    async def test_a_method_in_the_wrong_state_says_which(self) -> None:
        client = QMPClient()
        with self.assertRaises(StateError) as idle:
            client.execute("a")  # It raises without await.
        self.assertEqual(str(idle.exception), "QMPClient is disconnected and idle.")
        self.assertEqual(idle.exception.required, Runstate.RUNNING)
        self.assertEqual(idle.exception.state, Runstate.IDLE)
        protocol = Lines()
        with playing(lambda peer: None) as sock:
            await protocol.connect(sock)
            with self.assertRaises(StateError) as running:
                await protocol.connect("/nowhere")
            self.assertEqual(str(running.exception), "Lines is already connected and running.")
            protocol._schedule_disconnect()
            with self.assertRaises(StateError) as ending:
                await protocol.accept()
            self.assertIn("Call disconnect() to return to IDLE state.", str(ending.exception))
            await protocol.disconnect()

    async def test_p20_a_failed_connect_leaves_a_usable_client(self) -> None:
        protocol = Lines()
        with scratch() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
            for address in (folder + "/none", folder):
                with self.assertRaises(ConnectError) as caught:
                    await protocol.connect(address)
                self.assertIsInstance(caught.exception.exc, OSError)
                self.assertTrue(str(caught.exception).startswith("Failed to establish connect"))
                self.assertEqual(protocol.runstate, Runstate.IDLE)
            with self.assertRaises(ConnectError):
                await protocol.start_server(taken.getsockname())
        with playing(lambda peer: None) as sock:
            await protocol.connect(sock)
            await protocol.disconnect()

    async def test_repr_and_logger_follow_the_name(self) -> None:
        protocol = Lines("Ann")
        self.assertEqual(repr(protocol), "<Lines name='Ann' runstate=IDLE>")
        self.assertEqual(protocol.logger.name, "qemu.qmp.protocol.Ann")
        protocol.name = None
        self.assertEqual(repr(protocol), "<Lines runstate=IDLE>")
        self.assertEqual(protocol.logger.name, "qemu.qmp.protocol")

    async def test_two_callers_of_disconnect_both_return(self) -> None:
        protocol = Lines()
        with playing(lambda peer: None) as sock:
            await protocol.connect(sock)
            await asyncio.gather(protocol.disconnect(), protocol.disconnect())
        self.assertEqual(protocol.runstate, Runstate.IDLE)


class Listening(AsyncTest):
    async def test_lines_go_both_ways_over_unix_and_tcp(self) -> None:
        with scratch() as folder:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            for address in (os.path.join(folder, "s"), ("127.0.0.1", port)):
                server, client = Lines("server"), Lines("client")
                await server.start_server(address)
                accepting = asyncio.ensure_future(server.accept())
                await client.connect(address)
                await accepting
                await client.say("hello")
                await server.say("there")
                await server.arrived.wait()
                await client.arrived.wait()
                self.assertEqual((server.received, client.received), (["hello"], ["there"]))
                await client.disconnect()
                with self.assertRaises(EOFError):
                    await server.disconnect()

    async def test_p19_a_second_client_is_closed_with_a_warning(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            server = Lines("p19")
            await server.start_server(path)
            first = await asyncio.open_unix_connection(path)
            second = await asyncio.open_unix_connection(path)
            with self.assertLogs("qemu.qmp.protocol.p19", logging.WARNING):
                self.assertEqual(await second[0].read(), b"")
            await server.accept()
            for _, writer in (first, second):
                writer.close()
            with self.assertRaises(EOFError):
                while server.runstate is Runstate.RUNNING:
                    await server.runstate_changed()
                await server.disconnect()

    async def test_a_cancelled_accept_stops_listening(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            server = Lines()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(server.start_server_and_accept(path), 0.01)
            self.assertEqual(server.runstate, Runstate.IDLE)
            with self.assertRaises(OSError):
                to_path(path)

    async def test_disconnect_ends_an_accept_and_a_connect_of_another_task(self) -> None:
        with scratch() as folder:
            for address in (os.path.join(folder, "a"), os.path.join(folder, "b")):
                server = Lines()
                await server.start_server(address)
                accepting = asyncio.ensure_future(server.accept())
                await asyncio.sleep(0)
                await server.disconnect()
                with self.assertRaises(ConnectError):
                    await accepting
                self.assertEqual(server.runstate, Runstate.IDLE)
        client = QMPClient()
        with playing(lambda peer: None) as sock:
            connecting = asyncio.ensure_future(client.connect(sock))
            while client.runstate is Runstate.IDLE:
                await asyncio.sleep(0)
            await client.disconnect()
            with self.assertRaises(ConnectError):
                await connecting
        self.assertEqual(client.runstate, Runstate.IDLE)

    async def test_accept_needs_a_server(self) -> None:
        protocol = Lines()
        with playing(lambda peer: None) as sock:
            connecting = asyncio.ensure_future(protocol.connect(sock))
            await asyncio.sleep(0)
            with self.assertRaises(QMPError) as caught:
                await protocol.accept()
            self.assertNotIsInstance(caught.exception, StateError)
            await connecting
            await protocol.disconnect()

    async def test_a_client_of_a_qmp_server_may_call_us(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            client = QMPClient()
            await client.start_server(path)
            with calling(lambda peer: peer.shake_hands() and peer.answer(7), lambda: to_path(path)):
                await client.accept()
                self.assertEqual(await client.execute("a"), 7)
                await client.disconnect()


class Ends(AsyncTest):
    async def test_the_end_waits_for_what_is_unsent(self) -> None:
        sizes = []

        def script(peer: Peer) -> None:
            sizes.append(len(peer.lines.readline()))

        protocol = Lines()
        with playing(script) as sock:
            await protocol.connect(sock)
            await protocol.say("x" * 1_000_000)
            await protocol.disconnect()
        self.assertEqual(sizes, [1_000_001])

    async def test_a_peer_that_does_not_read_cannot_hold_up_the_end(self) -> None:
        ours, theirs = socket.socketpair()
        protocol = Lines()
        await protocol.connect(ours)
        await protocol.say("x" * 3_000_000)
        with mock.patch("qemu.qmp.protocol.GRACE", 0.05):
            await protocol.disconnect()
        self.assertEqual(protocol.runstate, Runstate.IDLE)
        theirs.close()

    async def test_the_first_failure_is_raised_and_the_next_session_is_clean(self) -> None:
        class Failing(Lines):
            async def _on_message(self, msg: str) -> None:
                raise ArithmeticError(msg)

        protocol = Failing("failing")
        with playing(lambda peer: peer.send_raw(b"boom\n")) as sock:
            with self.assertLogs("qemu.qmp.protocol.failing", logging.ERROR):
                await protocol.connect(sock)
                while protocol.runstate is Runstate.RUNNING:
                    await protocol.runstate_changed()
            with self.assertRaises(ArithmeticError):
                await protocol.disconnect()
        with playing(lambda peer: None) as sock:
            await protocol.connect(sock)
            await protocol.disconnect()

    async def test_no_descriptor_is_left(self) -> None:
        before = len(descriptors())
        for _ in range(5):
            protocol = Lines()
            with playing(lambda peer: None) as sock:
                await protocol.connect(sock)
                await protocol.disconnect()
            with scratch() as folder:
                with self.assertRaises(asyncio.TimeoutError):
                    address = os.path.join(folder, "s")
                    await asyncio.wait_for(Lines().start_server_and_accept(address), 0.01)
        # The loop closes those of the last one a moment later. Each of five would
        # leave one.
        self.assertLess(len(descriptors()), before + 5)

    async def test_a_line_of_endless_length_is_refused(self) -> None:
        def flood(peer: Peer) -> None:
            try:
                while True:
                    peer.send_raw(b"x" * 65536)
            except OSError:
                pass

        protocol = Lines("endless")
        with playing(flood) as sock, mock.patch("qemu.qmp.protocol.MAX_LINE", 1_000_000):
            with self.assertLogs("qemu.qmp.protocol.endless", logging.ERROR) as logs:
                await protocol.connect(sock)
                while protocol.runstate is Runstate.RUNNING:
                    await protocol.runstate_changed()
            with self.assertRaises(QMPError):
                await protocol.disconnect()
        self.assertIn("longer than 1000000 bytes", logs.output[0])


class Records(AsyncTest):
    async def test_messages_are_recorded_for_debugging(self) -> None:
        protocol = Lines("debug")
        with playing(lambda peer: peer.send_raw(b"hello\n")) as sock:
            with self.assertLogs("qemu.qmp.protocol.debug", logging.DEBUG) as logs:
                await protocol.connect(sock)
                await protocol.arrived.wait()
                await protocol.say("there")
                await protocol.disconnect()
        lines = [record.getMessage() for record in logs.records]
        self.assertIn("<-- hello", lines)
        self.assertIn("--> there", lines)

    async def test_the_logger_of_older_releases_silences_ours(self) -> None:
        older = logging.getLogger("qemu.qmp.qmp_client")
        self.addCleanup(older.setLevel, older.level)
        for level, expected in ((logging.CRITICAL, 0), (logging.NOTSET, 1)):
            older.setLevel(level)
            records: List[logging.LogRecord] = []
            handler = logging.Handler()
            handler.emit = records.append
            protocol = Lines("silent")
            protocol.logger.setLevel(logging.ERROR)
            protocol.logger.addHandler(handler)
            with self.assertRaises(ConnectError):
                await protocol.connect("/nowhere/at/all")
            protocol.logger.removeHandler(handler)
            self.assertEqual(len(records), expected)
