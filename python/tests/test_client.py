"""The asyncio client: commands, replies, and the handshake."""

import asyncio
import logging
import os
import socket
import threading
from typing import Any, Dict, List

from tests.scripted import AsyncTest, Peer, Script, Test, event, listening, playing

from qemu.qmp import (
    ConnectError,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
)
from qemu.qmp.message import DeserializationError
from qemu.qmp.protocol import AsyncProtocol
from qemu.qmp.qmp_client import (
    BadReplyError,
    GreetingError,
    NegotiationError,
    ServerParseError,
)

logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Commands(AsyncTest):
    async def connected(self, script: Script, **settings: Any) -> QMPClient:
        """Return a client whose peer plays a script after the handshake."""

        def whole(peer: Peer) -> None:
            peer.shake_hands()
            script(peer)

        sock = self.enter(playing(whole))
        client = QMPClient()
        await client.connect(sock)
        return client

    def enter(self, context: Any) -> Any:
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    async def test_a_command_returns_its_value_and_sends_what_it_was_given(self) -> None:
        seen: List[Dict[str, Any]] = []

        def script(peer: Peer) -> None:
            for _ in range(4):
                seen.append(peer.answer({"b": 1, "a": 2}))

        client = await self.connected(script)
        value = await client.execute("query-a")
        self.assertEqual(list(value.items()), [("b", 1), ("a", 2)])
        await client.execute("query-a", {})
        await client.execute("query-a", {"x": None}, oob=True)
        message = client.make_execute_msg("query-a")
        await client.execute_msg(message)
        await client.disconnect()
        self.assertEqual(message, {"execute": "query-a"})
        self.assertEqual(
            seen,
            [
                {"execute": "query-a", "id": "__qmp#00000"},
                {"execute": "query-a", "arguments": {}, "id": "__qmp#00001"},
                {"exec-oob": "query-a", "arguments": {"x": None}, "id": "__qmp#00002"},
                {"execute": "query-a", "id": "__qmp#00003"},
            ],
        )

    async def test_ids_count_on_in_the_next_session_and_a_subclass_may_see_them(self) -> None:
        class Numbering(QMPClient):
            def _get_exec_id(self) -> str:
                ids.append(super()._get_exec_id())
                return ids[-1]

        seen: List[Any] = []
        ids: List[str] = []
        client = Numbering()
        for _ in range(2):
            with playing(lambda peer: peer.shake_hands() and seen.append(peer.answer())) as sock:
                await client.connect(sock)
                await client.execute("a")
                await client.disconnect()
        self.assertEqual([it["id"] for it in seen], ["__qmp#00000", "__qmp#00001"])
        self.assertEqual(ids, ["__qmp#00000", "__qmp#00001"])

    async def test_an_error_reply_keeps_class_text_and_both_messages(self) -> None:
        def script(peer: Peer) -> None:
            command = peer.read()
            error = {"class": "CommandNotFound", "desc": "unknown"}
            peer.send({"error": error, "id": command["id"]})

        client = await self.connected(script)
        with self.assertRaises(ExecuteError) as caught:
            await client.execute("no-such")
        self.assertEqual(str(caught.exception), "unknown")
        self.assertEqual(caught.exception.error_class, "CommandNotFound")
        self.assertEqual(caught.exception.sent["execute"], "no-such")
        self.assertIn("error", caught.exception.received)
        await client.disconnect()

    async def test_replies_find_their_commands_in_any_order(self) -> None:
        def script(peer: Peer) -> None:
            commands = [peer.read() for _ in range(3)]
            for command in reversed(commands):
                peer.reply(command, command["execute"])

        client = await self.connected(script)
        names = ["a", "b", "c"]
        values = await asyncio.gather(*(client.execute(name) for name in names))
        self.assertEqual(values, names)
        await client.disconnect()

    async def test_a_malformed_reply_is_an_error_of_its_command_only(self) -> None:
        def script(peer: Peer) -> None:
            peer.send({"id": peer.read()["id"]})
            peer.send({"error": {"class": 3}, "id": peer.read()["id"]})
            peer.answer()

        client = await self.connected(script)
        for _ in range(2):
            with self.assertRaises(BadReplyError):
                await client.execute("a")
        self.assertEqual(await client.execute("a"), {})
        await client.disconnect()

    async def test_raw_keeps_own_ids_and_refuses_those_that_clash(self) -> None:
        def script(peer: Peer) -> None:
            peer.answer(1)
            peer.answer(2)
            first = peer.read()
            peer.answer(4)
            peer.reply(first, 3)

        client = await self.connected(script)
        self.assertEqual(await client._raw({"execute": "a", "id": "u"}), {"return": 1, "id": "u"})
        self.assertEqual(await client._raw(b'{"execute":"a"}', assign_id=False), {"return": 2})
        for wrong, error in ((3, TypeError), ("__qmp#00001", ValueError)):
            with self.assertRaises(error):
                await client._raw({"execute": "a", "id": wrong})
        waiting = asyncio.ensure_future(client._raw(Message({"execute": "a"}), assign_id=False))
        mine = asyncio.ensure_future(client._raw({"execute": "b", "id": "mine"}))
        await asyncio.sleep(0)
        for clash in ({"execute": "a"}, {"execute": "a", "id": "mine"}):
            with self.assertRaises(ValueError):
                await client._raw(clash, assign_id=False)
        self.assertEqual((await waiting)["return"], 3)
        self.assertEqual((await mine)["return"], 4)
        with self.assertRaises(ValueError):
            await client.execute_msg(Message({"run": "a"}))
        await client.disconnect()

    async def test_d6_the_late_reply_of_a_cancelled_command_answers_no_other(self) -> None:
        may_reply = threading.Event()

        def script(peer: Peer) -> None:
            first = peer.read()
            may_reply.wait()
            peer.send({"error": {"class": "GenericError", "desc": "late"}})
            peer.reply(peer.read(), "second")

        client = await self.connected(script)
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(client._raw({"execute": "a"}, assign_id=False), 0.01)
        may_reply.set()
        reply = await client._raw({"execute": "b"}, assign_id=False)
        self.assertEqual(reply, {"return": "second"})
        await client.disconnect()

    async def test_d15_the_late_replies_of_many_cancelled_commands_are_recorded(self) -> None:
        may_reply = threading.Event()

        def script(peer: Peer) -> None:
            cancelled = [peer.read() for _ in range(300)]
            may_reply.wait()
            for command in cancelled:
                peer.reply(command, "late")
            peer.answer("mine")

        client = await self.connected(script)
        self.addCleanup(may_reply.set)
        client.name = "late"
        for _ in range(300):
            command = asyncio.ensure_future(client.execute("a"))
            await asyncio.sleep(0)
            command.cancel()
            await asyncio.wait([command])
        self.assertLess(len(client._pending._sent), 300)
        with self.assertLogs("qemu.qmp.protocol.late", logging.DEBUG) as logs:
            may_reply.set()
            self.assertEqual(await client.execute("b"), "mine")
        late = [it for it in logs.output if "Nobody waits for this reply any more" in it]
        self.assertEqual(len(late), 300)
        self.assertEqual([it.levelname for it in logs.records if it.levelno > logging.DEBUG], [])
        self.assertEqual(client._pending._sent, [])
        await client.disconnect()

    async def test_d24_cancelling_and_executing_again_works(self) -> None:
        def script(peer: Peer) -> None:
            first = peer.read()
            second = peer.read()
            peer.reply(first, 1)
            peer.reply(second, 2)

        client = await self.connected(script)
        cancelled = asyncio.ensure_future(client.execute("a"))
        await asyncio.sleep(0)
        cancelled.cancel()
        self.assertEqual(await client.execute("b"), 2)
        await client.disconnect()

    async def test_d14_a_reply_of_20_mib_is_read(self) -> None:
        client = await self.connected(lambda peer: peer.answer("x" * 20_000_000) and None)
        self.assertEqual(len(await client.execute("a")), 20_000_000)
        await client.disconnect()

    async def test_the_buffer_for_reading_has_10_mib_or_as_asked(self) -> None:
        self.assertEqual((AsyncProtocol._limit, QMPClient._limit), (64 * 1024, 10 * 1024 * 1024))
        for given, expected in (({}, 10 * 1024 * 1024), ({"readbuflen": 1000}, 1000)):
            client = QMPClient("buffer", **given)
            with playing(lambda peer: peer.shake_hands() and peer.answer("x" * 5000)) as sock:
                await client.connect(sock)
                assert client._reader is not None
                self.assertEqual(getattr(client._reader, "_limit"), expected)
                self.assertEqual(await client.execute("a"), "x" * 5000)
                await client.disconnect()

    async def test_an_event_precedes_the_reply_that_follows_it(self) -> None:
        def script(peer: Peer) -> None:
            command = peer.read()
            peer.send(event("STOP"))
            peer.reply(command, {})

        client = await self.connected(script)
        with client.listener("STOP") as stops:
            await client.execute("stop")
            self.assertFalse(stops.empty())
        await client.disconnect()

    async def test_d25_messages_that_nobody_expects_change_nothing(self) -> None:
        def script(peer: Peer) -> None:
            command = peer.read()
            peer.send({"event": "NEW", "timestamp": {"seconds": -1, "microseconds": -1}})
            peer.send({"event": ["odd"]})
            peer.send({"return": {}, "id": "unknown"}, {"hello": 1}, {"return": 5})
            peer.send({"error": {"class": "New", "desc": ""}, "id": 7})
            peer.reply(command, "mine")

        client = await self.connected(script)
        with client.listener("STOP") as stops:
            self.assertEqual(await client.execute("a"), "mine")
            self.assertTrue(stops.empty())
        self.assertEqual((await client.events.get())["event"], "NEW")
        await client.disconnect()

    async def test_what_is_no_json_raises_at_the_call(self) -> None:
        client = await self.connected(lambda peer: peer.answer() and None)
        with self.assertRaises(TypeError):
            await client.execute("a", {"x": {1}})
        self.assertEqual(await client.execute("a"), {})
        await client.disconnect()

    async def test_a_lost_connection_interrupts_every_command(self) -> None:
        def script(peer: Peer) -> None:
            peer.read()
            peer.read()
            peer.close()

        client = await self.connected(script)
        commands = [asyncio.ensure_future(client.execute("a")) for _ in range(2)]
        for command in commands:
            with self.assertRaises(ExecInterruptedError) as caught:
                await command
            self.assertIsInstance(caught.exception.__cause__, (EOFError, ConnectionError))
        self.assertEqual(client.runstate, Runstate.DISCONNECTING)
        with self.assertRaises((EOFError, ConnectionError)):
            await client.disconnect()
        self.assertEqual(client.runstate, Runstate.IDLE)
        await client.disconnect()

    async def test_an_error_without_a_command_ends_the_connection(self) -> None:
        for line, error in (
            (b'{"error":{"class":"GenericError","desc":"JSON parse error"}}\r\n', ServerParseError),
            (b"not JSON\r\n", DeserializationError),
        ):
            client = await self.connected(lambda peer: peer.send_raw(line))
            while client.runstate is not Runstate.DISCONNECTING:
                await client.runstate_changed()
            with self.assertRaises(error):
                await client.disconnect()

    async def test_hooks_see_every_message_and_may_change_it(self) -> None:
        class Hooked(QMPClient):
            def _cb_outbound(self, msg: Message) -> Message:
                seen.append("out")
                return msg

            def _cb_inbound(self, msg: Message) -> Message:
                seen.append("in")
                if "return" in msg:
                    msg["return"] = "changed"
                return msg

        def script(peer: Peer) -> None:
            peer.shake_hands()
            peer.answer()

        seen: List[str] = []
        client = Hooked()
        await client.connect(self.enter(playing(script)))
        self.assertEqual(await client.execute("a"), "changed")
        self.assertEqual(seen, ["in", "out", "in", "out", "in"])
        await client.disconnect()

    async def test_a_descriptor_is_sent_over_unix_sockets_only(self) -> None:
        received = []

        def script(peer: Peer) -> None:
            peer.shake_hands()
            data, fds, _, _ = socket.recv_fds(peer.sock, 1, 1)
            received.append((data, os.fstat(fds[0]).st_ino))
            os.close(fds[0])

        with playing(script) as sock, open(__file__, encoding="utf-8") as file:
            client = QMPClient()
            await client.connect(sock)
            client.send_fd_scm(file.fileno())
            inode = os.fstat(file.fileno()).st_ino
            await client.disconnect()
        self.assertEqual(received, [(b" ", inode)])

    async def test_a_descriptor_over_tcp_is_refused(self) -> None:
        client = QMPClient()
        client.await_greeting = client.negotiate = False
        with socket.create_server(("127.0.0.1", 0)) as server:
            await client.connect(server.getsockname())
            with self.assertRaises(QMPError):
                client.send_fd_scm(0)
            await client.disconnect()


class Handshakes(AsyncTest):
    async def failure(self, script: Script) -> ConnectError:
        client = QMPClient()
        with playing(script) as sock, self.assertRaises(ConnectError) as caught:
            await client.connect(sock)
        self.assertEqual(client.runstate, Runstate.IDLE)
        self.assertTrue(str(caught.exception).startswith("Failed to establish session"))
        return caught.exception

    async def test_out_of_band_is_enabled_where_it_is_offered(self) -> None:
        for offered, arguments in ((["oob"], {"enable": ["oob"]}), ([], {})):
            seen = []
            client = QMPClient()
            with playing(lambda peer: seen.append(peer.shake_hands(*offered))) as sock:
                await client.connect(sock)
                self.assertEqual(client.greeting.QMP.capabilities, offered)
                await client.disconnect()
            self.assertEqual(seen, [{"execute": "qmp_capabilities", "arguments": arguments}])

    async def test_every_way_to_fail_has_its_cause(self) -> None:
        def refuse(peer: Peer) -> None:
            peer.greet()
            peer.read()
            peer.send({"error": {"class": "GenericError", "desc": "no"}})

        def close_late(peer: Peer) -> None:
            peer.greet()
            peer.read()
            peer.close()

        for script, cause in (
            (lambda peer: peer.close(), EOFError),
            (lambda peer: peer.send({"hello": 1}), GreetingError),
            (lambda peer: peer.send_raw(b"hello\n"), GreetingError),
            (lambda peer: peer.send_raw(b"[]\n"), GreetingError),
            (lambda peer: peer.send_raw(b'{"QMP"') or peer.close(), EOFError),
            (refuse, NegotiationError),
            (close_late, EOFError),
        ):
            error = await self.failure(script)
            self.assertIsInstance(error.exc, cause)
        self.assertIn("EOFError", str(await self.failure(lambda peer: peer.close())))

    async def test_d26_an_event_before_the_greeting_is_kept(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("EARLY"))
            peer.shake_hands()

        client = QMPClient()
        with playing(script) as sock:
            await client.connect(sock)
            self.assertEqual((await client.events.get())["event"], "EARLY")
            await client.disconnect()

    async def test_d3_a_cancelled_connect_to_a_silent_peer_is_idle(self) -> None:
        client = QMPClient()
        with playing(lambda peer: None) as sock:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(client.connect(sock), 0.01)
        self.assertEqual(client.runstate, Runstate.IDLE)

    async def test_an_agent_that_leaves_out_ids_is_answered_in_order(self) -> None:
        def script(peer: Peer) -> None:
            for _ in range(3):
                peer.send({"return": peer.read()["execute"]})
            peer.read()
            peer.send({"error": {"class": "GenericError", "desc": "frozen"}})

        client = QMPClient()
        client.await_greeting = client.negotiate = False
        with playing(script) as sock:
            await client.connect(sock)
            self.assertIsNone(client.greeting)
            values = await asyncio.gather(*(client.execute(name) for name in "abc"))
            self.assertEqual(values, ["a", "b", "c"])
            with self.assertRaises(ExecuteError):
                await client.execute("d")
            await client.disconnect()


class Loops(Test):
    def test_d16_a_client_is_made_outside_a_loop_and_used_in_two(self) -> None:
        values = []

        def work() -> None:
            client = QMPClient()

            async def session(sock: socket.socket) -> None:
                await client.connect(sock)
                values.append(await client.execute("a"))
                await client.disconnect()

            for _ in range(2):
                with playing(lambda peer: peer.shake_hands() and peer.answer(1)) as sock:
                    asyncio.run(session(sock))

        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        work()
        self.assertEqual(values, [1] * 6)

    def test_a_client_that_is_never_disconnected_makes_the_loop_complain_of_nothing(self) -> None:
        complaints = []

        async def session(path: str) -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            client = QMPClient()
            await client.connect(path)
            with self.assertRaises(ExecInterruptedError):
                await client.execute("a")

        def script(peer: Peer) -> None:
            peer.shake_hands()
            peer.read()
            peer.close()

        with listening(script) as path:
            asyncio.run(session(path))
        self.assertEqual(complaints, [])
