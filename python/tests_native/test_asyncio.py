"""Coroutines, in the loop of asyncio and in uvloop."""

import asyncio
import gc
import inspect
import os
import sys
import tempfile
import threading
import time
import unittest
import warnings
from pathlib import Path
from typing import Any, Awaitable, Callable, Iterator

import qemu_machine
from qemu_machine import CommandError, ExpectTimeout, Machine, connect_aio

from support import LONG, Test, has_ended, tiny

try:
    import uvloop
except ImportError:
    uvloop = None


class InEachLoop(Test):
    def run_each(self, main: Callable[[], Awaitable[Any]]) -> None:
        loops = [asyncio.new_event_loop] + ([uvloop.new_event_loop] if uvloop else [])
        for make in loops:
            with self.subTest(make.__module__):
                loop = make()
                loop.set_debug(True)
                # A loaded host is slow, and that is no fault.
                loop.slow_callback_duration = LONG
                problems: list[Any] = []
                loop.set_exception_handler(lambda _, context: problems.append(context))
                try:
                    loop.run_until_complete(asyncio.wait_for(main(), LONG))
                finally:
                    loop.run_until_complete(loop.shutdown_asyncgens())
                    loop.close()
                self.assertEqual(problems, [])

    def test_a_machine_lives_in_a_block(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                pid = vm.pid or 0
                await vm.aio.console.expect("> ")
                await vm.aio.console.send("echo hello\n")
                found = await vm.aio.console.expect("h(ell)o")
                self.assertEqual(found[1], "ell")
                self.assertTrue((await vm.aio.execute("query-status"))["running"])
                await vm.aio.screenshot() if "-vga" in vm.argv else None
            self.assertTrue(has_ended(pid))

        self.run_each(main)

    def test_many_commands_run_side_by_side(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                commands = [vm.aio.execute("query-status") for _ in range(500)]
                self.assertEqual(len(await asyncio.gather(*commands)), 500)

        self.run_each(main)

    def test_events_are_iterated_until_the_end(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                await vm.aio.console.expect("> ")
                with vm.aio.events("SHUTDOWN") as events:
                    await vm.aio.console.send("poweroff\n")
                    names = [event.name async for event in events]
                self.assertEqual(names, ["SHUTDOWN"])
                self.assertEqual((await vm.aio.wait()).cause, "guest")

        self.run_each(main)

    def test_cancelling_loses_nothing(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                with vm.aio.events("STOP") as events:
                    for _ in range(3):
                        with self.assertRaises(asyncio.TimeoutError):
                            await asyncio.wait_for(events.wait(timeout=None), 0.02)
                    await vm.aio.execute("stop")
                    self.assertEqual((await events.wait()).name, "STOP")
                    await vm.aio.execute("cont")
                task = asyncio.ensure_future(_of(vm.aio.console.expect("never", timeout=None)))
                await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                await vm.aio.console.expect("ready")

        self.run_each(main)

    def test_a_cancelled_launch_leaves_nothing(self) -> None:
        async def main() -> None:
            hanging = Machine("sleep", wrapper=["sh", "-c", "exec sleep 60"], launch_timeout=None)
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(hanging.__aenter__(), 0.1)
            self.assertFalse(hanging.is_running)

        self.run_each(main)

    def test_a_cancelled_block_ends_the_machine(self) -> None:
        pids = []

        async def block() -> None:
            async with tiny() as vm:
                pids.append(vm.pid or 0)
                await vm.aio.wait(timeout=None)

        async def main() -> None:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(block(), 1)

        self.run_each(main)
        for pid in pids:
            self.assertTrue(has_ended(pid))

    def test_exceptions_are_those_of_the_blocking_form(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                with self.assertRaises(CommandError):
                    await vm.aio.execute("no-such-command")
                with self.assertRaises(ExpectTimeout):
                    await vm.aio.console.expect("never", timeout=0.01)

        self.run_each(main)

    def test_an_operation_runs_once(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                operation = vm.aio.execute("query-status")
                await operation
                with self.assertRaisesRegex(RuntimeError, "only once"):
                    await operation

        self.run_each(main)

    def test_a_task_is_made_of_each_operation(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with tiny() as vm:
                operation = vm.aio.execute("query-status")
                self.assertTrue(asyncio.iscoroutine(operation))
                self.assertTrue((await asyncio.create_task(operation))["running"])
                with self.assertRaisesRegex(RuntimeError, "only once|already awaited"):
                    await asyncio.create_task(operation)
                with self.assertRaisesRegex(RuntimeError, "only once"):
                    await operation
                from_thread = await loop.run_in_executor(
                    None,
                    lambda: asyncio.run_coroutine_threadsafe(
                        vm.aio.execute("query-status"), loop
                    ),
                )
                self.assertTrue((await asyncio.wrap_future(from_thread))["running"])
                with self.assertRaises(CommandError):
                    await asyncio.create_task(vm.aio.execute("no-such-command"))
                task = asyncio.create_task(vm.aio.console.expect("never", timeout=None))
                for _ in range(2):
                    await asyncio.sleep(0)
                    self.assertIn("Operation", repr(task))
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                early = asyncio.create_task(vm.aio.console.expect("never", timeout=None))
                early.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await early
                await vm.aio.console.expect("ready")

        self.run_each(main)

    def test_one_that_is_never_awaited_does_nothing_and_says_nothing(self) -> None:
        async def main() -> None:
            async with tiny() as vm:
                with vm.events("STOP") as events, warnings.catch_warnings():
                    warnings.simplefilter("error")
                    vm.aio.execute("stop")
                    vm.aio.execute("stop").close()
                    closed = vm.aio.execute("stop")
                    closed.close()
                    with self.assertRaisesRegex(RuntimeError, "only once"):
                        await closed
                    gc.collect()
                    await vm.aio.execute("query-status")
                    self.assertEqual(events.pending(), [])

        self.run_each(main)

    def test_a_machine_is_launched_without_a_block(self) -> None:
        async def main() -> None:
            vm = await tiny().aio.launch()
            self.assertTrue((await vm.aio.execute("query-status"))["running"])
            with self.assertRaisesRegex(RuntimeError, "runs already"):
                await vm.aio.launch()
            await vm.aio.shutdown()
            self.assertFalse(vm.is_running)

        self.run_each(main)

    def test_others_monitors_are_awaited_too(self) -> None:
        async def main() -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "qmp")
                async with tiny(args=["-qmp", f"unix:{path},server=on,wait=off"]):
                    async with connect_aio(path) as qmp:
                        self.assertIn("status", await qmp.execute("query-status"))
                    qmp = await connect_aio(path)
                    self.assertIn("status", await qmp.execute("query-status"))
                    qmp.close()

        self.run_each(main)


class Loops(Test):
    def test_each_thread_has_its_loop(self) -> None:
        results = []

        def work() -> None:
            results.append(asyncio.run(_status()))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [True] * 3)

    def test_a_loop_takes_its_descriptors_along(self) -> None:
        asyncio.run(_status())
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            asyncio.run(_status())
        gc.collect()
        # The engine's thread closes those of the last machine, and reports nothing.
        deadline = time.monotonic() + LONG
        while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
            os.sched_yield()
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)

    def test_without_a_loop_it_says_so(self) -> None:
        with tiny() as vm:
            operation = vm.aio.execute("query-status")
            with self.assertRaisesRegex(RuntimeError, "no running event loop"):
                operation.__await__().send(None)

    def test_the_module_does_not_import_asyncio(self) -> None:
        import subprocess

        program = "import sys; from qemu_machine import Machine; assert 'asyncio' not in sys.modules"
        subprocess.run([sys.executable, "-c", program], check=True)


class Twins(unittest.TestCase):
    def test_both_forms_have_the_same_names_and_parameters(self) -> None:
        for name in ("Machine", "Qmp", "Events", "Console", "Shell", "GuestAgent", "Qtest", "Display", "Keyboard", "Mouse"):
            plain = getattr(qemu_machine, name)
            twin = getattr(qemu_machine, f"Async{name}")
            for method, of_twin in _methods(twin):
                of_plain = getattr(plain, method, None)
                if method == "execute" and name == "Machine":
                    of_plain = qemu_machine.Qmp.execute
                with self.subTest(f"{name}.{method}"):
                    assert of_plain is not None
                    parameters = inspect.signature(of_plain).parameters
                    self.assertEqual(inspect.signature(of_twin).parameters, parameters)


def _methods(of: type) -> Iterator[Any]:
    for name, found in vars(of).items():
        if not name.startswith("_") and inspect.isfunction(found):
            yield name, found


async def _of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _status() -> bool:
    async with tiny() as vm:
        return bool((await vm.aio.execute("query-status"))["running"])
