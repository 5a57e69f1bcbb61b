"""Commands, events, and connections to QEMUs of others."""

import subprocess
import tempfile
import threading
from pathlib import Path

from qemu_machine import ConnectError, Timeout, connect

from support import Test, tiny

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

    def test_a_server_that_is_not_there_is_a_connect_error(self) -> None:
        with self.assertRaises(ConnectError):
            connect("/nonexistent/socket", timeout=0)
        with self.assertRaises((ConnectError, Timeout)):
            connect(("127.0.0.1", 1), timeout=0)
