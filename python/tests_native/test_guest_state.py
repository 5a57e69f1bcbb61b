"""Guests that are saved, loaded, moved and restored."""

import asyncio
import pickle
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from qemu_machine import (
    CommandError,
    GuestCrashed,
    Machine,
    MachineEnded,
    MoveError,
    MoveTimeout,
    SnapshotError,
)

from support import LONG, Interrupted, Test, alarm, tiny


def qcow2(folder: str) -> Path:
    """An image that can store snapshots."""
    path = Path(folder, "disk.qcow2")
    command = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"]
    subprocess.run(command, check=True)
    return path


def with_disk(binary: str, folder: str, **options: Any) -> Machine:
    """The tiny guest with a disk for snapshots."""
    disk = {"file": qcow2(folder), "format": "qcow2", "if": "ide"}
    return tiny(binary, disks=[disk], **options)


def slowly(vm: Machine) -> None:
    """Makes a migration take for ever."""
    vm.qmp.execute("migrate-set-parameters", max_bandwidth=1000, downtime_limit=1)


def is_running(vm: Machine) -> bool:
    return bool(vm.qmp.execute("query-status")["running"])


class Files(Test):
    def test_a_guest_goes_on_in_another_machine_with_its_memory(self) -> None:
        for binary in self.each_qemu():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "saved")
                with Machine(binary, qtest=True, memory="16M") as vm:
                    vm.qtest.write(0x1000, b"kept")
                    report = vm.save_to(path)
                    self.assertEqual(report.states[-1], "completed")
                    assert report.transferred_bytes is not None
                    self.assertGreater(report.transferred_bytes, 4)
                    self.assertEqual(pickle.loads(pickle.dumps(report)), report)
                with Machine(binary, qtest=True, memory="16M", incoming=True) as vm:
                    vm.load_from(path)
                    self.assertEqual(vm.qtest.read(0x1000, 4), b"kept")

    def test_a_guest_that_ran_runs_unless_it_shall_stay_paused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "saved")
            with tiny() as vm:
                vm.console.expect("> ")
                vm.save_to(path, live=vm.qmp.version is not None and vm.qmp.version >= (9,))
                self.assertFalse(is_running(vm))
            for paused in (False, True):
                with tiny(incoming=True) as vm:
                    vm.load_from(path, paused=paused)
                    self.assertEqual(is_running(vm), not paused)
                    vm.qmp.execute("cont")
                    vm.console.send("echo here\n")
                    vm.console.expect("here")

    def test_a_save_that_is_interrupted_or_takes_too_long_resumes_the_guest(self) -> None:
        with tempfile.TemporaryDirectory() as folder, tiny() as vm:
            vm.console.expect("> ")
            slowly(vm)
            path = Path(folder, "saved")
            with self.assertRaises(MoveTimeout) as failed:
                vm.save_to(path, timeout=0.2)
            self.assertEqual(failed.exception.kind, "timeout")
            self.assertTrue(is_running(vm))
            with vm.events("STOP") as stopped, vm.events("RESUME") as resumed:

                def interrupt() -> None:
                    stopped.wait(timeout=LONG)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

                saving = threading.Thread(target=interrupt)
                saving.start()
                with self.assertRaises(Interrupted), alarm(LONG):
                    vm.save_to(path, timeout=LONG)
                saving.join()
                resumed.wait(timeout=LONG)
            self.assertTrue(is_running(vm))
            vm.console.send("echo here\n")
            vm.console.expect("here")

    def test_a_save_of_a_cancelled_task_resumes_the_guest(self) -> None:
        async def work(vm: Machine) -> None:
            with vm.aio.events("STOP", "RESUME") as events:
                saving = asyncio.ensure_future(vm.aio.save_to(path, timeout=None))
                await events.wait("STOP")
                saving.cancel()
                await events.wait("RESUME")

        with tempfile.TemporaryDirectory() as folder, tiny() as vm:
            path = Path(folder, "saved")
            slowly(vm)
            asyncio.run(work(vm))
            self.assertTrue(is_running(vm))

    def test_what_cannot_be_loaded_is_an_error(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "saved")
            with tiny() as vm:
                with self.assertRaises(MoveError) as failed:
                    vm.save_to(Path(folder, "none", "saved"))
                self.assertEqual(failed.exception.kind, "not-found")
                with self.assertRaisesRegex(CommandError, "incoming"):
                    path.write_bytes(b"no guest")
                    vm.load_from(path)
            with tiny(incoming=True) as vm:
                with self.assertRaises((MoveError, MachineEnded)):
                    vm.load_from(path)
                self.assertTrue(vm.wait().is_failure)


class Moves(Test):
    def test_a_guest_moves_to_another_machine(self) -> None:
        for binary in self.each_qemu():
            with tiny(binary) as one, tiny(binary, incoming=True) as two:
                one.console.expect("> ")
                self.assertEqual(one.migrate_to(two).states[-1], "completed")
                two.console.send("echo moved\n")
                two.console.expect("moved")
                self.assertFalse(is_running(one))

    def test_coroutines_move_a_guest(self) -> None:
        async def work() -> None:
            async with tiny() as one, tiny(incoming=True) as two:
                await one.aio.console.expect("> ")
                await one.aio.migrate_to(two)
                await two.aio.console.send("echo moved\n")
                await two.aio.console.expect("moved")

        asyncio.run(work())

    def test_a_move_that_fails_leaves_the_guest_where_it_was(self) -> None:
        with tiny(memory="16M") as one, tiny(memory="32M", incoming=True) as two:
            one.console.expect("> ")
            with self.assertRaises((MoveError, MachineEnded)):
                one.migrate_to(two)
            self.assertTrue(is_running(one))
            self.assertTrue(two.wait().is_failure)
            with self.assertRaises((MoveError, MachineEnded, GuestCrashed)):
                one.migrate_to(two)


class Snapshots(Test):
    def test_a_guest_goes_back_to_a_snapshot(self) -> None:
        for binary in self.each_qemu():
            with tempfile.TemporaryDirectory() as folder:
                disk = {"file": qcow2(folder), "format": "qcow2", "if": "ide"}
                with Machine(binary, qtest=True, memory="16M", disks=[disk]) as vm:
                    vm.qtest.write(0x1000, b"kept")
                    vm.save_snapshot("one")
                    vm.qtest.write(0x1000, b"lost")
                    vm.load_snapshot("one")
                    self.assertEqual(vm.qtest.read(0x1000, 4), b"kept")
                    [found] = vm.snapshots()
                    self.assertEqual((found.name, len(found.disks)), ("one", 1))
                    self.assertGreater(found.memory_bytes, 0)
                    self.assertGreater(found.taken, 1_600_000_000)
                    vm.load_snapshot("one", disks=found.disks)
                    vm.delete_snapshot("one")
                    self.assertEqual(vm.snapshots(), [])
                    with self.assertRaises(SnapshotError) as failed:
                        vm.load_snapshot("one")
                    self.assertEqual(failed.exception.kind, "not-found")
                    with self.assertRaises(TypeError):
                        vm.save_snapshot("two", disks=found.disks[0])

    def test_coroutines_use_snapshots_of_a_guest_that_runs(self) -> None:
        async def work(folder: str) -> None:
            async with with_disk("qemu-system-x86_64", folder) as vm:
                await vm.aio.console.expect("> ")
                await vm.aio.save_snapshot("one")
                await vm.aio.load_snapshot("one")
                self.assertTrue((await vm.aio.execute("query-status"))["running"])
                self.assertEqual([it.name for it in await vm.aio.snapshots()], ["one"])
                await vm.aio.delete_snapshot("one")
                await vm.aio.console.send("echo here\n")
                await vm.aio.console.expect("here")

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(work(folder))

    def test_a_machine_without_a_disk_for_it_says_what_to_do(self) -> None:
        with tiny() as vm:
            with self.assertRaisesRegex(SnapshotError, "qcow2") as failed:
                vm.save_snapshot("one")
            self.assertEqual(failed.exception.kind, "unsupported")
            vm.shutdown()
            with self.assertRaises(MachineEnded) as ended:
                vm.snapshots()
            assert ended.exception.report is not None
