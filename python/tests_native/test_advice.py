"""What errors advise: in words of Python, not of the Rust library."""

import re
import unittest

from qemu_machine import (
    AgentError,
    ConsoleError,
    DisplayError,
    LaunchError,
    Machine,
    QemuMachineError,
    QtestError,
    TemplateError,
)
from qemu_machine._advice import WORDS, in_our_words

from support import ROOT, Test, tiny


class Advice(Test):
    def check(self, error: QemuMachineError, advice: str) -> None:
        self.assertIn(advice, str(error))
        for word in ("builder", "::", "()", ".args("):
            self.assertNotIn(word, str(error))

    def test_a_missing_part_is_an_error_of_that_part_which_says_how_to_add_it(self) -> None:
        uses = (
            (AgentError, "`Machine(agent=True)`", lambda vm: vm.agent.ping()),
            (AgentError, "`Machine(agent=True)`", lambda vm: vm.agent.read_file("/x")),
            (ConsoleError, "`Machine(console=True)`", lambda vm: vm.console.expect("x")),
            (ConsoleError, "`Machine(console=True)`", lambda vm: vm.console.send("x")),
            (ConsoleError, "`Machine(console=True)`", lambda vm: vm.console.shell()),
            (QtestError, "`Machine(qtest=True)`", lambda vm: vm.qtest.read(0, 1)),
            (DisplayError, '`args=["-vga", "std"]`', lambda vm: vm.screenshot()),
            (TemplateError, "`Machine(freezable=True)`", lambda vm: vm.freeze()),
        )
        with tiny(console=False, args=["-nodefaults"]) as vm:
            for of, advice, use in uses:
                with self.subTest(advice), self.assertRaises(of) as failed:
                    use(vm)
                self.check(failed.exception, advice)
                self.assertIsNone(failed.exception.report)
            self.assertTrue(vm.is_running)

    def test_a_launch_advises_options_of_machine(self) -> None:
        cases = (
            (Machine("qemu-system-x86_64 -m 256M"), "in `args=[…]`"),
            (tiny(args=["-m 256M"]), '`args=["-m", "256M"]`'),
        )
        for machine, advice in cases:
            with self.subTest(advice), self.assertRaises(LaunchError) as failed:
                machine.launch()
            self.check(failed.exception, advice)
            self.assertIn(advice, failed.exception.advice or "")


class Words(unittest.TestCase):
    def test_what_the_library_says_is_still_said_there(self) -> None:
        sources = (ROOT / "qemu-machine/src").rglob("*.rs")
        text = "".join(source.read_text() for source in sources)
        # A literal goes on in the next line after a backslash.
        text = re.sub(r"\\\n\s*", "", text).replace('\\"', '"')
        for said, ours in WORDS:
            with self.subTest(said):
                self.assertIn(said, text)

    def test_the_rest_stays(self) -> None:
        self.assertEqual(in_our_words("nothing of that"), "nothing of that")
