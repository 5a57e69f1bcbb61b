"""Options of a machine that are wrong: refused at once, by name."""

import copy
import pickle
import unittest
from pathlib import Path
from typing import Any

from qemu_machine import Machine, UserNet, tiny_guest

from support import Test, tiny


class Refused(unittest.TestCase):
    def refuse(self, of: type, **options: Any) -> None:
        for name in options:
            with self.subTest(options), self.assertRaisesRegex(of, name):
                Machine("x", **options)

    def test_a_wrong_type_is_refused_by_name(self) -> None:
        for name in ("memory", "machine", "cpu", "append", "name"):
            self.refuse(TypeError, **{name: 256})
        for name in ("kernel", "initrd", "bios", "cwd", "log_dir", "transcript"):
            self.refuse(TypeError, **{name: 5})
        for name in ("timeout", "launch_timeout", "quit_timeout"):
            self.refuse(TypeError, **{name: "5"})
        for name in ("args", "wrapper", "disks", "accel", "netdev_user"):
            self.refuse(TypeError, **{name: 5})
            self.refuse(TypeError, **{name: [5]})
        self.refuse(TypeError, smp="2")
        self.refuse(TypeError, firmware="bios.bin")
        self.refuse(TypeError, env=["A"])
        self.refuse(TypeError, env={"A": 5})
        self.refuse(TypeError, env={5: "A"})

    def test_a_text_is_no_list(self) -> None:
        for name in ("args", "wrapper", "disks"):
            self.refuse(TypeError, **{name: "-S"})
        with self.assertRaisesRegex(TypeError, "list of arguments"):
            Machine.from_argv("qemu-system-x86_64 -S")

    def test_a_name_of_a_variable_has_no_equals_sign(self) -> None:
        for name in ("A=B", "", "A\0"):
            self.refuse(ValueError, env={name: "x"})
        self.refuse(ValueError, env={"A": "\0"})

    def test_a_disk_needs_a_file(self) -> None:
        self.refuse(ValueError, disks=[{"format": "raw"}])

    def test_a_log_needs_a_console(self) -> None:
        self.refuse(ValueError, console_log="x")

    def test_what_is_right_is_taken(self) -> None:
        Machine(
            Path("x"), args=("-S", Path("a")), memory="256M", accel=("kvm", "tcg"), smp=2,
            kernel=Path("k"), firmware=tiny_guest(), disks=(Path("a"), {"file": Path("b")}),
            netdev_user=(UserNet("a"), UserNet("b")), env={"A": "b", "C": None},
            wrapper=[Path("w"), "-x"], timeout=5, launch_timeout=None, quit_timeout=1.5,
        )  # fmt: skip


class Launched(Test):
    def test_arguments_may_be_paths(self) -> None:
        with tiny(args=["-name", Path("as-a-path")]) as vm:
            self.assertIn("as-a-path", vm.argv)

    def test_a_search_needs_a_pattern(self) -> None:
        with tiny() as vm:
            with self.assertRaisesRegex(ValueError, "empty"):
                vm.console.expect([])
            with self.assertRaisesRegex(ValueError, "empty"):
                vm.aio.console.expect([])

    def test_a_launched_machine_cannot_be_pickled_and_says_so(self) -> None:
        with tiny() as vm:
            for use in (pickle.dumps, copy.copy, copy.deepcopy):
                with self.subTest(use), self.assertRaisesRegex(TypeError, "a Machine that was"):
                    use(vm)
