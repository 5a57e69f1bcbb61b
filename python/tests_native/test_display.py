"""The display: pictures of it, and waits for what it shows."""

import asyncio
import pickle
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from qemu_machine import (
    CommandError,
    Display,
    DisplayError,
    DisplayTimeout,
    Machine,
    MachineEnded,
    Screenshot,
    Tolerance,
    connect,
)

from support import LONG, Interrupted, Test, alarm, tiny


def paused(binary: str = "qemu-system-x86_64", **options: Any) -> Machine:
    """A machine with a display, whose firmware shows something once it runs."""
    args = ["-vga", "std", "-S", *options.pop("args", ())]
    return Machine(binary, accel="tcg", args=args, **options)


class Waits(Test):
    def test_a_change_and_a_still_picture_are_waited_for(self) -> None:
        async def work(vm: Machine) -> None:
            display = vm.aio.display
            before = await display.screenshot()
            with self.assertRaises(DisplayTimeout) as failed:
                await display.change(timeout=3, pace=0.05)
            self.assertEqual(failed.exception.last, before)
            self.assertEqual(await display.expect(before), before)
            changed = asyncio.ensure_future(display.change(timeout=LONG))
            # It asks for its first picture now, and QEMU keeps the order.
            await asyncio.sleep(0)
            await vm.aio.execute("cont")
            self.assertGreater((await changed).difference(before), 0.001)
            await display.still(0.3, timeout=LONG)
            await vm.aio.execute("stop")
            last = await vm.aio.screenshot()
            self.assertEqual(await display.expect(last), last)
            self.assertNotEqual(last, before)

        for binary in self.each_qemu():
            with paused(binary) as vm:
                asyncio.run(work(vm))

    def test_another_picture_is_a_timeout_with_the_last_picture(self) -> None:
        with paused() as vm:
            shown = vm.display.still(0.1)
            rgb = bytes([shown.rgb[0] ^ 8]) + shown.rgb[1:]
            other = Screenshot(shown.width, shown.height, rgb)
            with self.assertRaises(DisplayTimeout) as failed:
                vm.display.expect(other, timeout=3)
            self.assertIsInstance(failed.exception, TimeoutError)
            again = pickle.loads(pickle.dumps(failed.exception))
            self.assertEqual(again.last, shown)
            with self.assertRaises(DisplayTimeout):
                vm.display.expect(other, tolerance=Tolerance(channel=7), timeout=0.2)
            for enough in (Tolerance(channel=8), Tolerance(share=1e-5)):
                self.assertEqual(vm.display.expect(other, tolerance=enough), shown)
                self.assertTrue(shown.matches(other, enough))
            self.assertFalse(shown.matches(other))

    def test_signals_and_the_end_interrupt_a_wait(self) -> None:
        with paused() as vm:
            with self.assertRaises(Interrupted), alarm():
                vm.display.change(timeout=LONG)
            display = vm.display
            vm.shutdown()
            with self.assertRaises(MachineEnded) as failed:
                display.change(timeout=LONG)
            assert failed.exception.report is not None

    def test_a_guest_that_is_paused_for_good_ends_the_wait(self) -> None:
        with tiny(args=["-vga", "std", "-no-shutdown"]) as vm:
            vm.console.expect("> ")
            small = Screenshot(1, 1, bytes(3))
            vm.console.send("poweroff\n")
            with self.assertRaises(DisplayError) as failed:
                vm.display.expect(small, timeout=None)
            self.assertEqual(failed.exception.kind, "guest")


class Choice(Test):
    def test_one_of_several_displays_is_chosen_by_its_device(self) -> None:
        with paused(args=["-device", "bochs-display,id=second"]) as vm:
            first = vm.display.screenshot()
            self.assertEqual(vm.display.head("second").screenshot().height > 0, True)
            asyncio.run(self.choose(vm))
            with self.assertRaisesRegex(CommandError, "third"):
                vm.display.head("third").screenshot()
            self.assertEqual(vm.display.aio._native.screenshot(LONG).wait(), first)

    async def choose(self, vm: Machine) -> None:
        with self.assertRaises(CommandError):
            await vm.aio.display.head("second", 7).screenshot()

    def test_a_machine_without_a_display_says_so(self) -> None:
        with tiny(args=["-nodefaults"]) as vm, self.assertRaisesRegex(DisplayError, "-vga"):
            vm.display.still(0)

    def test_the_display_of_a_qemu_of_someone_else(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "qmp")
            arguments = ["-display", "none", "-vga", "std", "-S"]
            arguments += ["-qmp", f"unix:{path},server=on,wait=off"]
            command = ["qemu-system-x86_64", *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            try:
                with connect(path) as qmp:
                    display = Display.of(qmp)
                    self.assertEqual(display.still(0.1), display.screenshot())
                    qmp.execute("quit")
                self.assertEqual(process.wait(), 0)
            finally:
                process.kill()
                process.wait()


class Pictures(unittest.TestCase):
    def test_a_picture_is_kept_and_read_again(self) -> None:
        picture = Screenshot(2, 1, bytes([1, 2, 3, 4, 5, 6]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kept.png")
            picture.save(path)
            self.assertEqual(Screenshot.open(path), picture)
            path.write_bytes(b"no picture")
            with self.assertRaises(OSError):
                Screenshot.open(path)
        self.assertEqual(picture.ppm, b"P6\n2 1\n255\n\1\2\3\4\5\6")
        self.assertEqual(len({picture, Screenshot(2, 1, picture.rgb)}), 1)
        self.assertEqual(pickle.loads(pickle.dumps(picture)), picture)
        self.assertNotEqual(picture, 5)

    def test_pictures_are_compared(self) -> None:
        black, grey = Screenshot(2, 1, bytes(6)), Screenshot(2, 1, bytes([0, 0, 0, 9, 9, 9]))
        self.assertEqual(black.difference(grey), 0.5)
        self.assertEqual(black.difference(grey, channel=9), 0)
        self.assertEqual(black.difference(Screenshot(1, 2, bytes(6))), 1)
        self.assertFalse(black.matches(Screenshot(1, 2, bytes(6)), Tolerance(share=1)))

    def test_a_picture_has_all_its_pixels(self) -> None:
        for width, height, rgb in ((1, 1, b"12"), (0, 0, b""), (2, 1, b"123")):
            with self.assertRaises(ValueError):
                Screenshot(width, height, rgb)
