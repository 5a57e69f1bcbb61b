"""The blocking client."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import threading
from typing import Any, Iterator, List

from tests.scripted import (
    VERSION,
    Peer,
    Script,
    Test,
    calling,
    descriptors,
    event,
    listening,
    playing,
    scratch,
    to_path,
)

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPError, StateError
from qemu.qmp.legacy import QEMUMonitorProtocol, QMPBadPortError
from qemu.qmp.message import DeserializationError


@contextlib.contextmanager
def connected(script: Script) -> Iterator[QEMUMonitorProtocol]:
    """A client whose peer plays a script after the handshake."""

    def whole(peer: Peer) -> None:
        peer.shake_hands()
        script(peer)

    with playing(whole) as sock, QEMUMonitorProtocol(sock) as monitor:
        monitor.connect()
        yield monitor


class Commands(Test):
    def test_each_way_to_send_has_its_shape(self) -> None:
        seen: List[Any] = []

        def script(peer: Peer) -> None:
            for _ in range(6):
                seen.append(peer.answer({"b": 1, "a": 2}))

        with connected(script) as monitor:
            value = {"b": 1, "a": 2}
            self.assertEqual(monitor.cmd("a"), value)
            self.assertEqual(monitor.cmd("a", x_y=1), value)
            reply = monitor.cmd_raw("a")
            self.assertEqual(list(reply), ["return"])
            self.assertEqual(list(reply["return"]), ["b", "a"])
            self.assertIs(type(reply), dict)
            monitor.cmd_raw("a", {})
            monitor.cmd_raw("a", {"x": 1})
            self.assertEqual(monitor.cmd_obj({"execute": "a", "id": "u"})["id"], "u")
        self.assertEqual(
            seen,
            [
                {"execute": "a", "arguments": {}, "id": "__qmp#00000"},
                {"execute": "a", "arguments": {"x_y": 1}, "id": "__qmp#00001"},
                {"execute": "a"},
                {"execute": "a"},
                {"execute": "a", "arguments": {"x": 1}},
                {"execute": "a", "id": "u"},
            ],
        )

    def test_d13_every_argument_name_can_be_passed(self) -> None:
        seen: List[Any] = []
        with connected(lambda peer: seen.append(peer.answer())) as monitor:
            monitor.cmd("human-monitor-command", cmd="x", self=1, args=2)
        self.assertEqual(seen[0]["arguments"], {"cmd": "x", "self": 1, "args": 2})
        with connected(lambda peer: seen.append(peer.answer())) as monitor:
            monitor.cmd(cmd="query-status")
        self.assertEqual(seen[1]["execute"], "query-status")

    def test_an_error_reply_is_raised_by_cmd_alone(self) -> None:
        error = {"class": "GenericError", "desc": "no"}

        def script(peer: Peer) -> None:
            peer.read()
            peer.send({"error": error})
            command = peer.read()
            peer.send({"error": error, "id": command["id"]})

        with connected(script) as monitor:
            self.assertEqual(monitor.cmd_raw("a"), {"error": error})
            with self.assertRaises(ExecuteError) as caught:
                monitor.cmd("a")
        self.assertEqual(str(caught.exception), "no")
        self.assertEqual(caught.exception.sent["id"], "__qmp#00000")

    def test_ids_count_on_in_the_next_session(self) -> None:
        ids: List[str] = []

        def script(peer: Peer) -> None:
            peer.shake_hands()
            ids.append(peer.answer()["id"])

        with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "qmp")
            server.bind(path)
            server.listen()
            monitor = QEMUMonitorProtocol(path)
            for _ in range(2):
                with calling(script, lambda: server.accept()[0]), monitor:
                    monitor.connect()
                    monitor.cmd("a")
        self.assertEqual(ids, ["__qmp#00000", "__qmp#00001"])

    def test_cmd_raw_goes_through_an_overridden_cmd_obj(self) -> None:
        class Shell(QEMUMonitorProtocol):
            def cmd_obj(self, qmp_cmd: Any) -> Any:
                return {"return": qmp_cmd}

        self.assertEqual(Shell("x").cmd_raw("a"), {"return": {"execute": "a"}})

    def test_wrong_ids_are_refused(self) -> None:
        with connected(lambda peer: None) as monitor:
            for wrong, error in ((3, TypeError), ("__qmp#1", ValueError)):
                with self.assertRaises(error):
                    monitor.cmd_obj({"execute": "a", "id": wrong})

    def test_d4_a_silent_server_ends_a_command_at_its_limit(self) -> None:
        with connected(lambda peer: None) as monitor:
            for limit in (0.01, 0):
                monitor.settimeout(limit)
                with self.assertRaises(asyncio.TimeoutError):
                    monitor.cmd("a")

    def test_d6_a_late_reply_answers_no_other_command(self) -> None:
        for late in ({"return": "late"}, {"error": {"class": "A", "desc": "late"}}):
            may_reply = threading.Event()

            def script(peer: Peer) -> None:
                first = peer.read()
                may_reply.wait()
                ids = {"id": first["id"]} if "id" in first else {}
                peer.send({**late, **ids})
                peer.answer("second")

            for send in ("cmd_raw", "cmd"):
                may_reply.clear()
                with connected(script) as monitor:
                    monitor.settimeout(0.01)
                    with self.assertRaises(asyncio.TimeoutError):
                        getattr(monitor, send)("first")
                    may_reply.set()
                    monitor.settimeout(None)
                    self.assertEqual(monitor.cmd_raw("second"), {"return": "second"})

    def test_d14_a_reply_of_20_mib_is_read(self) -> None:
        with connected(lambda peer: peer.answer("x" * 20_000_000)) as monitor:
            self.assertEqual(len(monitor.cmd("a")), 20_000_000)

    def test_a_command_larger_than_all_buffers_is_sent(self) -> None:
        sizes: List[int] = []
        with connected(lambda peer: sizes.append(len(peer.answer()["arguments"]["x"]))) as monitor:
            monitor.cmd("a", x="x" * 5_000_000)
        self.assertEqual(sizes, [5_000_000])

    def test_an_agent_without_ids_is_answered_in_order(self) -> None:
        def script(peer: Peer) -> None:
            for value in (1, 2):
                peer.read()
                peer.send({"return": value})
            peer.read()
            peer.send({"error": {"class": "GenericError", "desc": "frozen"}})

        with playing(script) as sock, QEMUMonitorProtocol(sock) as agent:
            self.assertIsNone(agent.connect(negotiate=False))
            self.assertEqual([agent.cmd("a"), agent.cmd("b")], [1, 2])
            with self.assertRaises(ExecuteError):
                agent.cmd("c")

    def test_a_descriptor_is_sent_over_unix_sockets_only(self) -> None:
        inodes: List[int] = []

        def script(peer: Peer) -> None:
            data, fds, _, _ = socket.recv_fds(peer.sock, 1, 1)
            inodes.append(os.fstat(fds[0]).st_ino)
            os.close(fds[0])

        with open(__file__, encoding="utf-8") as file:
            with connected(script) as monitor:
                monitor.send_fd_scm(file.fileno())
            self.assertEqual(inodes, [os.fstat(file.fileno()).st_ino])
        with socket.create_server(("127.0.0.1", 0)) as server:
            with QEMUMonitorProtocol(server.getsockname()) as monitor:
                monitor.connect(negotiate=False)
                with self.assertRaises(QMPError):
                    monitor.send_fd_scm(0)


class Waits(Test):
    def test_events_are_pulled_listed_and_cleared(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(*(event(name) for name in "ABCD"))
            peer.answer()
            peer.answer()
            peer.send(event("E"))

        with connected(script) as monitor:
            monitor.cmd("a")
            self.assertEqual(monitor.pull_event()["event"], "A")
            self.assertEqual(monitor.pull_event(wait=1)["event"], "B")
            names = [it["event"] for it in monitor.get_events(wait=True)]
            self.assertEqual(names, ["C", "D"])
            self.assertEqual(monitor.get_events(), [])
            self.assertIsNone(monitor.pull_event())
            monitor.cmd("a")
            self.assertEqual([it["event"] for it in monitor.get_events(wait=True)], ["E"])

    def test_cleared_events_are_gone(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("A"))
            peer.answer()

        with connected(script) as monitor:
            monitor.cmd("a")
            monitor.clear_events()
            self.assertIsNone(monitor.pull_event())

    def test_the_events_of_an_ended_session_are_kept_beside_those_of_the_next(self) -> None:
        with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "qmp")
            server.bind(path)
            server.listen()
            monitor = QEMUMonitorProtocol(path)
            # The same line of each session is an event.
            for name in "ABC":

                def script(peer: Peer, name: str = name) -> None:
                    peer.shake_hands()
                    peer.send(event(name))
                    peer.answer()

                with calling(script, lambda: server.accept()[0]), monitor:
                    monitor.connect()
                    monitor.cmd("a")
                    if name == "B":
                        self.assertEqual(monitor.pull_event()["event"], "A")
            self.assertEqual([it["event"] for it in monitor.get_events()], ["B", "C"])

    def test_d5_whole_and_fractional_seconds_end(self) -> None:
        with connected(lambda peer: None) as monitor:
            for wait in (1, 0.01):
                with self.assertRaises(asyncio.TimeoutError):
                    monitor.pull_event(wait=wait)
                with self.assertRaises(asyncio.TimeoutError):
                    monitor.get_events(wait=0.01)

    def test_d28_a_wait_for_an_event_ends_when_the_server_dies(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("LAST"))
            peer.close()

        with connected(script) as monitor:
            self.assertEqual(monitor.pull_event(wait=True)["event"], "LAST")
            with self.assertRaises(ExecInterruptedError):
                monitor.pull_event(wait=True)
            with self.assertRaises(StateError):
                monitor.pull_event(wait=True)
            self.assertIsNone(monitor.pull_event())

    def test_d15_unread_events_are_bounded(self) -> None:
        def script(peer: Peer) -> None:
            command = peer.read()
            for n in range(100_005):
                peer.send({"event": n})
            peer.reply(command, None)

        with connected(script) as monitor:
            monitor.cmd("a")
            numbers = [it["event"] for it in monitor.get_events()]
            self.assertEqual(numbers, list(range(5, 100_005)))

    def test_messages_are_read_whole_however_they_are_cut(self) -> None:
        events = [event("A", text="\u00fc" * n) for n in range(4)]
        data = b"".join(json.dumps(it, ensure_ascii=False).encode() + b"\r\n" for it in events)
        for size in (1, 7, 33, len(data)):

            def script(peer: Peer, size: int = size) -> None:
                peer.shake_hands()
                for start in range(0, len(data), size):
                    peer.send_raw(data[start : start + size])

            with playing(script) as sock, QEMUMonitorProtocol(sock) as monitor:
                monitor.connect()
                self.assertEqual([monitor.pull_event(wait=5) for _ in events], events)

    def test_looking_for_events_leaves_nothing_behind(self) -> None:
        with playing(lambda peer: peer.shake_hands() and None) as sock:
            with QEMUMonitorProtocol(sock) as monitor:
                monitor.connect()
                for _ in range(1000):
                    self.assertIsNone(monitor.pull_event(wait=False))
                assert monitor._qmp._stream is not None
                self.assertEqual(monitor._qmp._stream._incoming[1], [])

    def test_d16_it_works_in_a_thread_and_in_a_running_loop(self) -> None:
        values: List[Any] = []

        def work() -> None:
            with connected(lambda peer: peer.answer(1)) as monitor:
                values.append(monitor.cmd("a"))

        async def inside() -> None:
            work()

        work()
        asyncio.run(inside())
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual(values, [1] * 4)


class Ends(Test):
    def test_the_first_command_after_a_loss_is_interrupted_the_next_are_refused(self) -> None:
        with connected(lambda peer: peer.close()) as monitor:
            with self.assertRaises(ExecInterruptedError) as first:
                monitor.cmd("a")
            self.assertEqual(str(first.exception), "Disconnected")
            with self.assertRaises(StateError) as second:
                monitor.cmd("a")
            self.assertIn("QMPClient is disconnecting.", str(second.exception))
            monitor.close()
            with self.assertRaises(StateError) as third:
                monitor.cmd_raw("a")
            self.assertEqual(str(third.exception), "QMPClient is disconnected and idle.")
            monitor.close()

    def test_a_loss_noticed_while_polling_interrupts_the_next_command(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("LAST"))
            peer.close()

        with connected(script) as monitor:
            monitor.pull_event(wait=True)
            while monitor._qmp.runstate.name == "RUNNING":
                self.assertEqual(monitor.get_events(), [])
            with self.assertRaises(ExecInterruptedError):
                monitor.cmd("a")
            with self.assertRaises(StateError):
                monitor.cmd("a")

    def test_the_last_reply_of_a_dying_server_is_read(self) -> None:
        def script(peer: Peer) -> None:
            peer.answer("bye")
            peer.close()

        with connected(script) as monitor:
            self.assertEqual(monitor.cmd("quit"), "bye")

    def test_close_is_silent_about_a_lost_server_and_not_about_a_broken_one(self) -> None:
        with connected(lambda peer: peer.send_raw(b"nonsense\n")) as monitor:
            with self.assertRaises(ExecInterruptedError):
                monitor.cmd("a")
            with self.assertRaises(DeserializationError):
                monitor.close()
            monitor.close()

    def test_no_descriptor_is_left_also_without_close(self) -> None:
        before = len(descriptors())
        for _ in range(5):
            with playing(lambda peer: peer.shake_hands()) as sock:
                monitor = QEMUMonitorProtocol(sock)
                monitor.connect()
                del monitor
            with self.assertRaises(ConnectError), playing(lambda peer: peer.close()) as sock:
                QEMUMonitorProtocol(sock).connect()
            with scratch() as folder:
                QEMUMonitorProtocol(os.path.join(folder, "s"), server=True)
        self.assertEqual(len(descriptors()), before)


class Connecting(Test):
    def test_the_greeting_is_returned(self) -> None:
        with listening(lambda peer: peer.shake_hands("oob")) as path:
            with QEMUMonitorProtocol(path) as monitor:
                greeting = monitor.connect()
        self.assertEqual(greeting, {"QMP": {"version": VERSION, "capabilities": ["oob"]}})

    def test_entering_does_not_connect(self) -> None:
        with QEMUMonitorProtocol("/nowhere") as monitor:
            with self.assertRaises(StateError):
                monitor.cmd("a")

    def test_d26_an_event_before_the_greeting_is_kept(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("EARLY"))
            peer.shake_hands()

        with playing(script) as sock, QEMUMonitorProtocol(sock) as monitor:
            monitor.connect()
            self.assertEqual(monitor.pull_event()["event"], "EARLY")

    def test_a_failed_connect_can_be_repeated(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "qmp")
            monitor = QEMUMonitorProtocol(path)
            with self.assertRaises(ConnectError) as caught:
                monitor.connect()
            self.assertIsInstance(caught.exception.exc, FileNotFoundError)
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path)
                server.listen()
                with calling(lambda peer: peer.shake_hands(), lambda: server.accept()[0]):
                    self.assertIsNotNone(monitor.connect())
                    monitor.close()

    def test_a_limit_set_before_connect_bounds_it(self) -> None:
        with playing(lambda peer: None) as sock, QEMUMonitorProtocol(sock) as monitor:
            monitor.settimeout(0.05)
            with self.assertRaises(asyncio.TimeoutError):
                monitor.connect()
            with self.assertRaises(StateError) as caught:
                monitor.cmd("a")
            self.assertIn("disconnected and idle", str(caught.exception))

    def test_a_full_queue_of_the_listener_ends_connect_at_its_limit(self) -> None:
        before = len(descriptors())
        with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "qmp")
            server.bind(path)
            server.listen(0)
            with to_path(path) as waiting, QEMUMonitorProtocol(path) as monitor:
                for limit in (0, 0.05, 0.25):
                    monitor.settimeout(limit)
                    with self.assertRaises(asyncio.TimeoutError):
                        monitor.connect()
                # Now there is a place.
                server.accept()[0].close()
                waiting.close()
                monitor.settimeout(30)
                with calling(lambda peer: peer.shake_hands(), lambda: server.accept()[0]):
                    self.assertIsNotNone(monitor.connect())
                    monitor.close()
        self.assertEqual(len(descriptors()), before)

    def test_a_greeting_before_the_limit_is_in_time(self) -> None:
        may_greet = threading.Event()

        def script(peer: Peer) -> None:
            may_greet.wait()
            peer.shake_hands()

        with playing(script) as sock, QEMUMonitorProtocol(sock) as monitor:
            monitor.settimeout(30)
            wait = monitor._qmp._start_session

            def start(*args: Any) -> None:
                may_greet.set()
                wait(*args)

            monitor._qmp._start_session = start  # type: ignore[method-assign]
            self.assertIn("QMP", monitor.connect())

    def test_a_port_is_connected_to_also_by_name(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            for host in ("127.0.0.1", "localhost"):
                with QEMUMonitorProtocol((host, server.getsockname()[1])) as monitor:
                    with calling(lambda peer: peer.shake_hands(), lambda: server.accept()[0]):
                        monitor.settimeout(30)
                        self.assertIn("QMP", monitor.connect())
                        monitor.close()
            address = server.getsockname()
        with self.assertRaises(ConnectError) as caught:
            QEMUMonitorProtocol(address).connect()
        self.assertIsInstance(caught.exception.exc, ConnectionRefusedError)

    def test_a_server_that_closes_at_once_is_named_as_the_cause(self) -> None:
        with playing(lambda peer: peer.close()) as sock:
            with self.assertRaises(ConnectError) as caught:
                QEMUMonitorProtocol(sock).connect()
        self.assertEqual(str(caught.exception), "Failed to establish session: EOFError")
        self.assertIsInstance(caught.exception.exc, EOFError)

    def test_accept_serves_unix_and_tcp_and_replaces_a_stale_socket(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            for _ in range(2):  # The first one leaves its socket.
                with QEMUMonitorProtocol(path, server=True) as monitor:
                    with calling(lambda peer: peer.shake_hands(), lambda: to_path(path)):
                        self.assertIn("QMP", monitor.accept())
                        monitor.close()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with QEMUMonitorProtocol(("localhost", port), server=True) as monitor:
            call = lambda: socket.create_connection(("127.0.0.1", port))  # noqa: E731
            with calling(lambda peer: peer.shake_hands(), call):
                monitor.accept(timeout=30)
                monitor.close()

    def test_the_limit_of_accept_covers_the_handshake(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            monitor = QEMUMonitorProtocol(path, server=True)
            with self.assertRaises(asyncio.TimeoutError):
                monitor.accept(timeout=0.01)
            with self.assertRaises(StateError):
                monitor.accept()
            monitor = QEMUMonitorProtocol(path, server=True)
            with calling(lambda peer: None, lambda: to_path(path)):
                with self.assertRaises(asyncio.TimeoutError):
                    monitor.accept(timeout=0.1)

    def test_p19_a_second_client_is_closed_with_a_warning(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            with QEMUMonitorProtocol(path, server=True, nickname="p19") as monitor:
                first = to_path(path)
                with to_path(path) as second:
                    with calling(lambda peer: peer.shake_hands(), lambda: first):
                        with self.assertLogs("qemu.qmp.protocol.p19", logging.WARNING):
                            monitor.accept()
                        self.assertEqual(second.recv(1), b"")
                        monitor.close()

    def test_wrong_addresses_are_refused(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, self.assertRaises(ValueError):
            QEMUMonitorProtocol(ours, server=True)
        with self.assertRaises(ConnectError) as caught:
            QEMUMonitorProtocol("/nowhere/at/all", server=True)
        self.assertIn("Failed to establish connection", str(caught.exception))

    def test_a_path_too_long_for_a_socket_is_no_address(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "x" * 120)
            for fail in (
                lambda: QEMUMonitorProtocol(path, server=True),
                lambda: QEMUMonitorProtocol(path).connect(),
            ):
                with self.assertRaises(ConnectError) as caught:
                    fail()
                self.assertIn("AF_UNIX path too long", str(caught.exception))
                self.assertIsInstance(caught.exception.exc, OSError)

    def test_addresses_are_parsed(self) -> None:
        parse = QEMUMonitorProtocol.parse_address
        self.assertEqual(parse("host:44"), ("host", 44))
        self.assertEqual(parse("/tmp/x"), "/tmp/x")
        self.assertEqual(parse("a:b:c"), "a:b:c")
        with self.assertRaises(QMPBadPortError) as caught:
            parse("a:b")
        self.assertEqual(str(caught.exception), "Bad port: 'b' in 'a:b'.")


class Subclasses(Test):
    def test_one_that_answers_every_attribute_works(self) -> None:
        class Agent(QEMUMonitorProtocol):
            def __getattr__(self, name: str) -> Any:
                return lambda **arguments: self.cmd("guest-" + name, **arguments)

        with playing(lambda peer: peer.answer(3)) as sock, Agent(sock) as agent:
            agent.connect(negotiate=False)
            self.assertEqual(agent.ping(), 3)
