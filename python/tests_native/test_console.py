"""Consoles and their patterns."""

import pickle
import re

from qemu_machine import ConsoleError, ExpectError, ExpectTimeout, MachineEnded

from support import Test, tiny


class Expecting(Test):
    def test_what_the_guest_prints_is_found_in_order(self) -> None:
        for binary in self.each_qemu():
            with tiny(binary) as vm:
                vm.console.expect("> ")
                vm.console.send("echo one\n")
                vm.console.send(b"echo two\n")
                self.assertIn("one", vm.console.expect(b"one\r\n").text)
                found = vm.console.expect(r"t(w)(o)(x)?\r")
                self.assertEqual(found.groups(), ["w", "o", None])
                self.assertEqual((found[1], found.raw[:3]), ("w", b"two"))
                self.assertIn(">", found.before)
                self.assertIn("two", vm.console.tail)

    def test_patterns_are_expressions_bytes_or_compiled(self) -> None:
        with tiny() as vm:
            vm.console.expect("> ")
            vm.console.send("echo a.b AXB\n")
            self.assertEqual(vm.console.expect(b"a.b").text, "a.b")
            self.assertEqual(vm.console.expect(re.compile("a[a-z]b", re.I)).text, "AXB")
            vm.console.send("echo second\n")
            self.assertEqual(vm.console.expect(["first", "second"]).index, 1)
            with self.assertRaises(ValueError):
                vm.console.expect("(")
            with self.assertRaises(TypeError):
                vm.console.expect(5)  # type: ignore[arg-type]

    def test_a_timeout_shows_the_console(self) -> None:
        with tiny() as vm:
            vm.console.expect("ready")
            with self.assertRaises(ExpectTimeout) as failed:
                vm.console.expect("never", timeout=0.1)
            error = pickle.loads(pickle.dumps(failed.exception))
            self.assertIsInstance(error, TimeoutError)
            self.assertIsInstance(error, ExpectError)
            self.assertIn("'never'", str(error))
            self.assertGreaterEqual(error.waited, 0.1)
            # Nothing was lost by the search that failed.
            vm.console.expect("> ")

    def test_the_end_of_the_machine_ends_the_wait(self) -> None:
        with tiny() as vm:
            vm.console.expect("> ")
            vm.console.send("poweroff\n")
            with self.assertRaises(MachineEnded) as failed:
                vm.console.expect("never", timeout=None)
        assert failed.exception.report is not None
        self.assertEqual(failed.exception.report.cause, "guest")

    def test_a_machine_without_console_says_so(self) -> None:
        with tiny(console=False) as vm:
            with self.assertRaises(ConsoleError):
                vm.console.expect("x")
            with self.assertRaises(ConsoleError):
                vm.console.send("x")
