"""Commands, events, and connections to QEMUs of others."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from qemu_machine import (
    ConnectError,
    Machine,
    MonitorError,
    Qmp,
    Timeout,
    connect,
    connect_agent,
    connect_aio,
)

from support import LONG, Test, tiny

#: A reply with members in an order that is not sorted, and a number of 64 bits.
BIG = 2**64 - 1


class Commands(Test):
    def test_arguments_with_dashes_can_be_written_with_underscores(self) -> None:
        with tiny() as vm:
            vm.qmp.execute("blockdev-add", driver="null-co", node_name="disk")
            nodes = vm.qmp.execute_json("query-named-block-nodes", {"flat": True})
            self.assertEqual(nodes[0]["node-name"], "disk")

    def test_replies_keep_the_order_of_the_wire(self) -> None:
        with tiny() as vm:
            path = {"path": "/machine", "property": "type"}
            self.assertIsInstance(vm.qmp.execute_json("qom-get", path), str)
            answer = vm.qmp.execute("query-version")
            self.assertEqual(list(answer["qemu"]), ["micro", "minor", "major"])
            version = vm.qmp.version
            assert version is not None
            self.assertEqual(version[0], answer["qemu"]["major"])

    def test_out_of_band_commands_work(self) -> None:
        with tiny() as vm, self.assertRaisesRegex(Exception, "yank|instance"):
            vm.qmp.execute_json("yank", {"instances": [{"type": "migration"}]}, oob=True)


class Descriptors(Test):
    def test_descriptors_are_passed_by_number_object_and_path(self) -> None:
        with tempfile.TemporaryDirectory() as folder, tiny() as vm:
            path = Path(folder, "image")
            path.write_bytes(bytes(1 << 16))
            with open(path, "rb") as file, socket.socket() as other:
                vm.qmp.execute_json("getfd", {"fdname": "one"}, fds=[other.fileno()])
                self.assertTrue(has_open(vm, os.fstat(other.fileno())))
                vm.qmp.execute("closefd", fdname="one")
                self.assertFalse(has_open(vm, os.fstat(other.fileno())))
                self.assertIsNone(vm.qmp.getfd("two", other))
                # The caller's own is still open.
                self.assertTrue(has_open(vm, os.fstat(other.fileno())))
                self.assertEqual(vm.qmp.add_fd(3, file)["fdset-id"], 3)
            vm.qmp.add_fd(4, path)
            for number in (3, 4):
                vm.qmp.execute(
                    "blockdev-add", driver="file", node_name=f"n{number}", read_only=True,
                    filename=f"/dev/fdset/{number}",
                )  # fmt: skip
            self.assertTrue(has_open(vm, os.stat(path)))

    def test_coroutines_pass_descriptors(self) -> None:
        async def work() -> None:
            with socket.socket() as one, socket.socket() as two:
                await vm.aio.qmp.getfd("one", one)
                await vm.aio.qmp.execute_json("getfd", {"fdname": "two"}, fds=(two,))
                for passed in (one, two):
                    self.assertTrue(has_open(vm, os.fstat(passed.fileno())))
                self.assertIn("fd", await vm.aio.qmp.add_fd(1, "/dev/null"))

        with tiny() as vm:
            asyncio.run(work())

    def test_what_is_no_descriptor_is_refused_before_anything_is_sent(self) -> None:
        with tiny() as vm:
            read, write = os.pipe()
            os.close(read)
            os.close(write)
            for wrong, error in ((write, OSError), (True, TypeError), (1.5, TypeError)):
                with self.subTest(wrong), self.assertRaises(error):
                    vm.qmp.getfd("x", wrong)  # type: ignore[arg-type]
            with self.assertRaisesRegex(MonitorError, "no such file|No such file"):
                vm.qmp.getfd("x", "/nonexistent/file")
            self.assertTrue(vm.qmp.execute("query-status")["running"])


def has_open(vm: Machine, wanted: os.stat_result) -> bool:
    """Whether QEMU has this file or socket open."""
    for number in Path(f"/proc/{vm.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found = number.stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


class Listening(Test):
    def test_a_subscription_gets_what_comes_after_it_was_made(self) -> None:
        with tiny() as vm, vm.events("STOP", "RESUME") as events:
            vm.qmp.execute("stop")
            vm.qmp.execute("cont")
            resumed = events.wait("RESUME")
            self.assertEqual((resumed.name, resumed.data), ("RESUME", {}))
            assert resumed.timestamp is not None
            self.assertGreater(resumed.timestamp, 1_600_000_000)
            # The one that was skipped is still there.
            self.assertEqual([event.name for event in events.pending()], ["STOP"])
            with self.assertRaises(Timeout):
                events.wait(timeout=0.01)
            events.close()
            with self.assertRaises(ValueError):
                events.wait()

    def test_iterating_ends_with_the_machine(self) -> None:
        with tiny() as vm, vm.events() as events:
            vm.console.expect("> ")
            vm.console.send("poweroff\n")
            names = [event.name for event in events]
        self.assertIn("SHUTDOWN", names)

    def test_two_waits_at_a_time_are_refused(self) -> None:
        with tiny() as vm, vm.events("STOP") as events:
            results = []
            begun = threading.Event()

            def wait() -> None:
                begun.set()
                try:
                    results.append(events.wait(timeout=None).name)
                except RuntimeError:
                    results.append("refused")

            threads = [threading.Thread(target=wait) for _ in range(2)]
            for thread in threads:
                thread.start()
            begun.wait()
            # One of them is refused, and returns at once.
            while len(results) < 1:
                threads[0].join(0.01)
                threads[1].join(0.01)
            vm.qmp.execute("stop")
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(results), ["STOP", "refused"])


class Connecting(Test):
    def test_a_qemu_of_someone_else_can_be_used(self) -> None:
        for binary in self.each_qemu():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "qmp")
                arguments = ["-machine", "none", "-nodefaults", "-display", "none", "-S"]
                arguments += ["-qmp", f"unix:{path},server=on,wait=off"]
                process = subprocess.Popen([binary, *arguments], stdin=subprocess.DEVNULL)
                try:
                    with connect(path) as qmp, qmp.events("SHUTDOWN") as events:
                        self.assertEqual(qmp.execute("query-status")["running"], False)
                        qmp.execute("quit")
                        events.wait("SHUTDOWN")
                    self.assertEqual(process.wait(), 0)
                finally:
                    process.kill()
                    process.wait()

    def test_a_connected_socket_can_be_used_by_its_object_or_number(self) -> None:
        for binary in self.each_qemu():
            for by_number in (False, True):
                ours, theirs = socket.socketpair()
                arguments = ["-machine", "none", "-nodefaults", "-display", "none", "-S"]
                arguments += ["-chardev", f"socket,id=m,fd={theirs.fileno()}"]
                with theirs:
                    process = subprocess.Popen(
                        [binary, *arguments, "-mon", "chardev=m,mode=control"],
                        stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                    )  # fmt: skip
                try:
                    with ours:
                        qmp = connect(ours.fileno() if by_number else ours)
                    with qmp:
                        self.assertEqual(qmp.execute("query-status")["running"], False)
                        qmp.execute("quit")
                    self.assertEqual(process.wait(), 0)
                finally:
                    process.kill()
                    process.wait()

    def test_the_end_of_the_connection_reaches_a_peer_whose_socket_is_still_open_here(
        self,
    ) -> None:
        def serve() -> None:
            with peer.makefile("rwb", buffering=0) as lines:
                lines.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
                while line := lines.readline():
                    answer = {"return": {}, "id": json.loads(line)["id"]}
                    lines.write(json.dumps(answer).encode() + b"\n")

        ours, peer = socket.socketpair()
        with ours, peer:
            server = threading.Thread(target=serve, daemon=True)
            server.start()
            qmp = asyncio.run(connected(ours))
            self.assertEqual(qmp.execute("query-status"), {})
            qmp.close()
            server.join(LONG)
            self.assertFalse(server.is_alive())

    def test_a_server_that_is_not_there_is_a_connect_error(self) -> None:
        with self.assertRaises(ConnectError):
            connect("/nonexistent/socket", timeout=0)
        with self.assertRaises((ConnectError, Timeout)):
            connect(("127.0.0.1", 1), timeout=0)
        with self.assertRaisesRegex(ConnectError, "no-such-host.invalid:1:") as failed:
            connect(("no-such-host.invalid", 1))
        self.assertEqual(failed.exception.kind, "not-found")

    def test_what_is_no_address_is_refused(self) -> None:
        for port in (-1, 65536, 99999):
            with self.assertRaisesRegex(ValueError, f"from 0 to 65535, not {port}"):
                connect(("localhost", port))
        for address in (b"/x", 5.5, None, ["localhost", 1], ("localhost",), ("localhost", "1")):
            for connecting in (connect, connect_agent):
                with self.subTest(address), self.assertRaisesRegex(TypeError, "an address is"):
                    connecting(address)


async def connected(ours: socket.socket) -> Qmp:
    return Qmp((await connect_aio(ours))._native)
