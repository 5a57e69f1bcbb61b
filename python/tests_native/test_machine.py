"""Machines: launched on enter, gone on exit."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any, Callable, Dict

from qemu_machine import (
    AccelError,
    CommandError,
    GuestCrashed,
    InputError,
    LaunchError,
    LaunchTimeout,
    Machine,
    MachineEnded,
    NotRunning,
    QemuMachineError,
    QtestError,
    Timeout,
    best_accel,
)

from support import Test, has_ended, tiny


class Life(Test):
    def test_it_is_launched_on_enter_and_gone_on_exit(self) -> None:
        for binary in self.each_qemu():
            with tiny(binary) as vm:
                pid = vm.pid
                assert pid is not None
                self.assertTrue(vm.is_running)
                self.assertIsNone(vm.report)
                self.assertEqual(vm.argv[0], binary)
                self.assertTrue(vm.qmp.execute("query-status")["running"])
            self.assertTrue(has_ended(pid))
            self.assertFalse(vm.is_running)
            self.assertIsNone(vm.pid)
            report = vm.report
            assert report is not None
            self.assertEqual((report.pid, report.code, report.cause), (pid, 0, "quit"))

    def test_an_exception_in_the_block_ends_it_too_and_goes_on(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            with tiny() as vm:
                pid = vm.pid or 0
                1 / 0
        self.assertTrue(has_ended(pid))

    def test_a_guest_that_powers_off_has_a_report(self) -> None:
        with tiny() as vm:
            vm.console.expect("> ")
            vm.console.send("poweroff\n")
            report = vm.wait()
        self.assertEqual((report.cause, report.code), ("guest", 0))
        self.assertEqual(report.shutdown_reason, "guest-shutdown")
        self.assertFalse(report.is_failure)
        self.assertIn("tiny guest ready", report.console)
        self.assertEqual(pickle.loads(pickle.dumps(report)), report)
        self.assertIn("by the guest", str(report))

    def test_a_qemu_that_was_killed_is_a_crash(self) -> None:
        with self.assertRaises(GuestCrashed) as crashed:
            with tiny() as vm:
                os.kill(vm.pid or 0, 6)
                vm.console.expect("never")
        assert crashed.exception.report is not None
        self.assertEqual(crashed.exception.report.signal, 6)

    def test_a_crash_that_nobody_saw_fails_the_block(self) -> None:
        with self.assertRaises(GuestCrashed):
            with tiny() as vm:
                os.kill(vm.pid or 0, 9)
        with tiny() as vm:
            os.kill(vm.pid or 0, 9)
            self.assertEqual(vm.wait().signal, 9)

    def test_a_crash_that_was_caught_is_not_raised_again(self) -> None:
        def crash(vm: Machine) -> None:
            pid = vm.pid or 0
            os.kill(pid, 9)
            self.assertTrue(has_ended(pid))

        uses: Dict[str, Callable[[Machine], object]] = {
            "console.expect": lambda vm: vm.console.expect("never"),
            "console.send": lambda vm: vm.console.send("x"),
            "console.shell": lambda vm: vm.console.shell(),
            "qmp.execute": lambda vm: vm.qmp.execute("query-status"),
            "events.wait": lambda vm: vm.events("STOP").wait(),
            "agent.ping": lambda vm: vm.agent.ping(),
            "qtest.raw": lambda vm: vm.qtest.raw("clock_step"),
            "display.screenshot": lambda vm: vm.screenshot(),
            "keyboard.press": lambda vm: vm.keyboard.press("a"),
            "save_to": lambda vm: vm.save_to("/dev/null"),
            "snapshots": lambda vm: vm.snapshots(),
            "forwarded_port": lambda vm: vm.forwarded_port("net0", 22),
        }
        for name, use in uses.items():
            with self.subTest(name), tiny(agent=True, qtest=True, args=["-vga", "std"]) as vm:
                crash(vm)
                with self.assertRaises(GuestCrashed) as failed:
                    use(vm)
                self.assertIsNotNone(failed.exception.report)

        async def in_coroutine() -> None:
            async with tiny() as vm:
                crash(vm)
                with self.assertRaises(GuestCrashed):
                    await vm.aio.console.expect("never")

        asyncio.run(in_coroutine())

    def test_a_crash_that_was_caught_is_that_of_one_machine(self) -> None:
        with self.assertRaises(GuestCrashed):
            with tiny() as vm:
                with tiny() as other:
                    for one in (vm, other):
                        os.kill(one.pid or 0, 9)
                    with self.assertRaises(GuestCrashed):
                        other.console.expect("never")

    def test_it_can_be_launched_again(self) -> None:
        vm = tiny()
        with self.assertRaisesRegex(NotRunning, "launch"):
            vm.qmp
        pids = []
        for _ in range(2):
            with vm:
                pids.append(vm.pid)
                with self.assertRaises(RuntimeError):
                    vm.launch()
        self.assertEqual(len(set(pids)), 2)

    def test_collecting_it_ends_it(self) -> None:
        vm = tiny().launch()
        pid = vm.pid or 0
        del vm
        self.assertTrue(has_ended(pid))

    def test_a_ready_command_line_is_launched(self) -> None:
        argv = ["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-S"]
        with Machine.from_argv(argv, name="ready") as vm:
            self.assertEqual(vm.name, "ready")
            self.assertIn("none", vm.argv)
            self.assertFalse(vm.qmp.execute("query-status")["running"])

    def test_shutdown_and_kill_return_the_report(self) -> None:
        with tiny() as vm:
            self.assertEqual(vm.shutdown().cause, "quit")
            self.assertEqual(vm.kill().cause, "quit")
        with tiny() as vm:
            self.assertEqual(vm.kill().signal, 9)

    def test_no_reference_cycle_is_left(self) -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                with tiny() as vm:
                    vm.qmp.execute("query-status")
                    with vm.events():
                        pass
                del vm
                self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()

    def test_threads_may_share_a_machine(self) -> None:
        results = []
        with tiny() as vm:

            def work() -> None:
                for _ in range(50):
                    results.append(vm.qmp.execute("query-status")["running"])

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(results, [True] * 200)


class Failures(Test):
    def test_a_missing_binary_is_a_launch_error(self) -> None:
        with self.assertRaisesRegex(LaunchError, "not-a-qemu") as failed:
            Machine("not-a-qemu").launch()
        self.assertEqual(failed.exception.kind, "not-found")

    def test_a_wrong_option_has_qemus_own_words_and_the_report(self) -> None:
        with self.assertRaisesRegex(LaunchError, "no-such-device") as failed:
            tiny(args=["-device", "no-such-device"]).launch()
        error = failed.exception
        assert error.report is not None and error.argv is not None
        self.assertEqual(error.report.code, 1)
        self.assertIn("no-such-device", error.argv)
        again = pickle.loads(pickle.dumps(error))
        self.assertIs(type(again), LaunchError)
        self.assertEqual(str(again), str(error))
        self.assertEqual(again.report, error.report)

    def test_a_launch_has_a_limit(self) -> None:
        with self.assertRaises(LaunchTimeout) as failed:
            Machine("sleep", args=["60"], wrapper=["sh", "-c", "exec sleep 60"],
                    launch_timeout=0.2).launch()  # fmt: skip
        self.assertIsInstance(failed.exception, TimeoutError)
        self.assertIsInstance(failed.exception, Timeout)

    def test_a_refused_command_has_class_and_description(self) -> None:
        with tiny() as vm, self.assertRaises(CommandError) as failed:
            vm.qmp.execute("device_add", driver="no-such-device", id="x")
        error = pickle.loads(pickle.dumps(failed.exception))
        self.assertEqual((error.class_, error.command), ("GenericError", "device_add"))
        self.assertIn("no-such-device", error.desc)
        self.assertEqual(error.kind, "refused")

    def test_a_wait_for_a_guest_that_stays_has_a_limit(self) -> None:
        with tiny() as vm:
            with self.assertRaises(TimeoutError):
                vm.wait(timeout=0.05)
            self.assertTrue(vm.is_running)

    def test_a_command_after_the_end_has_the_report(self) -> None:
        with tiny() as vm:
            vm.shutdown()
            with self.assertRaises(MachineEnded) as failed:
                vm.qmp.execute("query-status")
        assert failed.exception.report is not None
        self.assertEqual(failed.exception.report.cause, "quit")

    def test_wrong_arguments_are_refused_before_anything_runs(self) -> None:
        for options in ({"console": "parallel"}, {"timeout": -1}, {"timeout": float("nan")}):
            with self.subTest(options), self.assertRaises(ValueError):
                tiny(**options).launch()
        with self.assertRaises(TypeError):
            Machine("x", no_such_option=1)  # type: ignore[call-arg]
        with tiny() as vm, self.assertRaises(ValueError):
            vm.qmp.execute_json("query-status", {"a": float("nan")})

    def test_every_exception_can_be_pickled(self) -> None:
        import qemu_machine._errors as errors

        for name, found in vars(errors).items():
            if isinstance(found, type) and issubclass(found, QemuMachineError):
                error = found("why", kind="refused", extra=[1])
                again = pickle.loads(pickle.dumps(error))
                self.assertEqual((type(again), str(again)), (found, "why"), name)
                self.assertEqual(again.__dict__, error.__dict__)


class Accelerators(Test):
    def test_the_best_accelerator_is_one_that_works(self) -> None:
        accel = best_accel("qemu-system-x86_64")
        with tiny(accel=accel) as vm:
            vm.console.expect("> ")
        with self.assertRaises(AccelError):
            best_accel("not-a-qemu")


class Files(Test):
    def test_logs_and_transcripts_are_where_they_were_asked_for(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            transcript = Path(folder, "qmp.txt")
            with tiny(log_dir=folder, transcript=transcript, name="kept") as vm:
                vm.qmp.execute("query-status")
                log = vm.log
            self.assertTrue(log.startswith(folder))
            self.assertTrue(Path(log).is_file())
            self.assertIn("query-status", transcript.read_text())

    def test_a_picture_of_the_display_is_a_png_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder, tiny(args=["-vga", "std"]) as vm:
            picture = vm.screenshot()
            self.assertEqual(len(picture.rgb), 3 * picture.width * picture.height)
            self.assertEqual(len(picture.pixel(0, 0)), 3)
            with self.assertRaises(IndexError):
                picture.pixel(picture.width, 0)
            path = Path(folder, "screen.png")
            picture.save(path)
            self.assertTrue(path.read_bytes().startswith(b"\x89PNG"))


class Devices(Test):
    def test_disks_are_there_and_qtest_reads_and_writes_memory_and_ports(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, "a,b.raw")
            image.write_bytes(bytes(1 << 20))
            given: Any = [
                {"file": image, "format": "raw", "if": "none", "id": "one"},
                {"file": image, "format": "raw", "if": "none", "id": "two", "readonly": "on"},
            ]
            given[0]["file.locking"] = given[1]["file.locking"] = "off"
            with Machine("qemu-system-x86_64", qtest=True, disks=given) as vm:
                listed = vm.qmp.execute("query-block")
                inserted = [it["inserted"] for it in listed if "inserted" in it]
                self.assertEqual({it["file"] for it in inserted}, {str(image)})
                self.assertEqual([it["ro"] for it in inserted], [False, True])
                qtest = vm.qtest
                qtest.write(0x1000, b"abcd")
                self.assertEqual(qtest.read(0x1001, 3), b"bcd")
                self.assertTrue(qtest.raw("readb 0x1000").startswith("OK 0x"))
                # The byte of the clock's memory that firmware keeps over a reset.
                for value in (0x5A, 0xA5):
                    qtest.write_port(0x70, 0x0F)
                    qtest.write_port(0x71, value)
                    self.assertEqual(qtest.read_port(0x71), value)
                self.assertEqual(asyncio.run(_read(vm)), b"a")
                for wrong in (
                    lambda: qtest.read_port(0x70, width=3),  # type: ignore[arg-type]
                    lambda: qtest.write_port(0x70, 256),
                ):
                    self.assertRaises(ValueError, wrong)
                with self.assertRaisesRegex(QtestError, "not sent"):
                    qtest.raw("")
            with self.assertRaises(MachineEnded):
                qtest.read(0, 1)
            for disks in ([{"if": "virtio"}], [5]):
                with self.assertRaises((TypeError, ValueError)):
                    Machine("qemu-system-x86_64", disks=disks)  # type: ignore[arg-type]


async def _read(vm: Machine) -> bytes:
    return await vm.aio.qtest.read(0x1000, 1)


class Input(Test):
    def test_keys_and_the_mouse_reach_the_guest(self) -> None:
        # Without a guest that reads them, QEMU takes a few keys.
        with tiny(args=["-device", "qemu-xhci", "-device", "usb-tablet"]) as vm:
            for action, arguments in (
                (vm.keyboard.press, ("no-such-key",)),
                (vm.keyboard.type, ("ß",)),
                (vm.keyboard.press, ("a-",)),
            ):
                with self.assertRaises((InputError, CommandError)) as failed:
                    action(*arguments)
                self.assertIn(failed.exception.kind, ("refused", "invalid-input"))
            with self.assertRaises(ValueError):
                vm.mouse.click("wrong")  # type: ignore[arg-type]
            with self.assertRaises(ValueError):
                vm.keyboard.type("a", layout="dvorak")  # type: ignore[arg-type]
            vm.mouse.move_to(0.5, 0.5)
            vm.mouse.click("right", hold=0)

            async def work() -> None:
                await vm.aio.mouse.move_to(0, 1)
                await vm.aio.mouse.click()

            asyncio.run(work())


class Imports(unittest.TestCase):
    def test_the_drop_in_does_not_load_the_rust_part(self) -> None:
        program = "import sys, qemu_machine.compat; assert 'qemu_machine._native' not in sys.modules"
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_the_plugin_of_pytest_loads_the_rust_part_only_when_it_is_used(self) -> None:
        program = """
import sys, qemu_machine.pytest_plugin
assert "qemu_machine._native" not in sys.modules
"""
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_all_names_exist(self) -> None:
        import qemu_machine

        for name in qemu_machine.__all__:
            self.assertTrue(hasattr(qemu_machine, name), name)
        self.assertLessEqual(set(qemu_machine.__all__), set(dir(qemu_machine)))
        self.assertEqual(sorted(qemu_machine._MODULES), sorted(qemu_machine.__all__))
        with self.assertRaises(AttributeError):
            qemu_machine.no_such_name
