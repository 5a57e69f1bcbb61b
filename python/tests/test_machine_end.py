"""How a machine ends: who asks, when, and what it reports."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import subprocess
import threading
import time
import warnings
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from tests.machines import WRAPPER, MachineTest, machine, qtest_machine

from qemu.machine import QEMUMachine, QEMUQtestMachine
from qemu.machine.machine import AbnormalShutdown, QEMUMachineError, VMLaunchFailure
from qemu.qmp import ExecInterruptedError, StateError

End = Callable[[Any], None]


def is_gone(vm: Any) -> None:
    """Wait for the end of QEMU."""
    vm._popen.wait()


def die(vm: Any, number: int = signal.SIGKILL) -> None:
    """QEMU dies of a signal."""
    os.kill(vm.get_pid(), number)
    is_gone(vm)


def poweroff(vm: Any) -> None:
    """The guest ends QEMU."""
    monitor = vm._qmp_connection._qmp._stream._socket
    monitor.send(b'{"execute": "fake-end", "arguments": {"code": 0}}\n')
    is_gone(vm)


def quit_by_user(vm: Any) -> None:
    """The user sends ``quit``."""
    vm.cmd("quit")
    is_gone(vm)


def quit_and_more(vm: Any) -> None:
    """The user sends ``quit``, and goes on."""
    vm.qmp("quit")
    is_gone(vm)
    for kind in (ExecInterruptedError, StateError):
        try:
            vm.cmd("query-status")
        except kind:
            pass


#: What happens before, what ends it, whether that is abnormal, and the exit code.
TABLE: Dict[str, Tuple[Optional[End], End, bool, int]] = {
    "shutdown": (None, lambda vm: vm.shutdown(), False, 0),
    "kill": (None, lambda vm: vm.kill(), False, -9),
    "hard": (None, lambda vm: vm.shutdown(hard=True), False, -9),
    "quit, shutdown": (quit_by_user, lambda vm: vm.shutdown(), False, 0),
    "quit, wait": (quit_by_user, lambda vm: vm.wait(), False, 0),
    "quit, kill": (quit_by_user, lambda vm: vm.kill(), False, 0),
    "d10 quit and more, shutdown": (quit_and_more, lambda vm: vm.shutdown(), False, 0),
    "power off, shutdown": (poweroff, lambda vm: vm.shutdown(), True, 0),
    "power off, wait": (poweroff, lambda vm: vm.wait(), False, 0),
    "power off, kill": (poweroff, lambda vm: vm.kill(), False, 0),
    "crash, shutdown": (lambda vm: die(vm, signal.SIGSEGV), lambda vm: vm.shutdown(), True, -11),
    "crash, wait": (lambda vm: die(vm, signal.SIGSEGV), lambda vm: vm.wait(), False, -11),
    "killed, shutdown": (die, lambda vm: vm.shutdown(), True, -9),
    "killed, wait": (die, lambda vm: vm.wait(timeout=None), False, -9),
    "killed, kill": (die, lambda vm: vm.kill(), False, -9),
    "nothing, wait": (None, lambda vm: vm.wait(timeout=0.1), True, -9),
}
#: Which of them warn of the signal.
WARN = ("crash, shutdown", "crash, wait", "killed, wait")


class Ending(QEMUMachine):
    """A machine that notifies when its end begins."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_ending = threading.Event()

    def _early_cleanup(self) -> None:
        super()._early_cleanup()
        self.is_ending.set()


class Ends(MachineTest):
    def test_each_way_to_end_reports_as_the_contract_says(self) -> None:
        for name, (before, end, is_abnormal, code) in TABLE.items():
            with self.subTest(name):
                vm = machine()
                vm.launch()
                if before is not None:
                    before(vm)
                with self.assertLogs("qemu.machine", logging.DEBUG) as logged:
                    logging.getLogger("qemu.machine").debug("begin")
                    if is_abnormal:
                        with self.assertRaisesRegex(
                            AbnormalShutdown, "^Could not perform graceful shutdown$"
                        ) as caught:
                            end(vm)
                        self.assertIsNotNone(caught.exception.__cause__)
                    else:
                        end(vm)
                warnings = [it for it in logged.records if it.levelno >= logging.WARNING]
                command = " ".join(vm._qemu_full_args)
                expected = [f'qemu received signal {-code}; command: "{command}"']
                self.assertEqual(
                    [it.getMessage() for it in warnings], expected if name in WARN else []
                )
                self.assertEqual(vm.exitcode(), code)
                self.assertEqual((vm.is_running(), vm.get_pid()), (False, None))
                self.assertIsNotNone(vm.get_log())
                vm.shutdown()
                vm.kill()

    def test_without_a_launch_nothing_is_to_end(self) -> None:
        vm = machine()
        vm.shutdown()
        vm.wait()
        vm.kill()
        self.assertIsNone(vm.exitcode())
        with self.assertRaises(QEMUMachineError):
            vm._subp.poll()
        # `wait` marked the end as expected, and the next run must not inherit that.
        vm.launch()
        vm.shutdown()
        self.assertEqual(vm.exitcode(), 0)

    def test_a_qemu_that_does_not_end_is_killed(self) -> None:
        for word, cause in (
            ("fake-deaf", subprocess.TimeoutExpired),
            ("fake-no-quit", asyncio.TimeoutError),
        ):
            with self.subTest(word):
                vm = machine(word)
                vm.launch()
                with self.assertRaises(AbnormalShutdown) as caught:
                    # Enough for the answer of the peer that gives one.
                    vm.shutdown(timeout=2)
                self.assertIsInstance(caught.exception.__cause__, cause)
                self.assertEqual(vm.exitcode(), -9)

    def test_d4_a_stopped_qemu_is_killed_at_the_limit(self) -> None:
        vm = machine()
        vm.launch()
        os.kill(vm.get_pid(), signal.SIGSTOP)
        with self.assertRaises(AbnormalShutdown):
            vm.shutdown(timeout=0.2)
        self.assertEqual(vm.exitcode(), -9)

    def test_without_a_monitor_qemu_gets_sigterm(self) -> None:
        vm = qtest_machine()
        vm.set_qmp_monitor(enabled=False)
        vm.launch()
        self.assertEqual(vm.qtest("clock_step 1"), "OK clock_step 1\n")
        vm.shutdown()
        self.assertEqual((vm.exitcode(), vm.get_log()), (0, "fake: no monitor\n"))

    def test_d10_the_error_of_a_block_is_not_hidden_by_the_end(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            with machine() as vm:
                vm.launch()
                die(vm)
                raise ZeroDivisionError
        with self.assertRaises(AbnormalShutdown):
            with machine() as vm:
                vm.launch()
                die(vm)

    def test_a_commands_error_is_no_end(self) -> None:
        class Refusing(QEMUMachine):
            def qmp(self, *args: Any, **kwargs: Any) -> Any:
                calls.append(args)
                return super().qmp(*args, **kwargs)

        calls: List[Any] = []
        with machine(kind=Refusing) as vm:
            vm.launch()
            vm.qmp("fake-error")
        self.assertEqual(calls, [("fake-error",), ("quit",)])

    def test_an_alarm_ends_every_wait_and_qemu_with_it(self) -> None:
        waits: Dict[str, End] = {
            "shutdown": lambda vm: vm.shutdown(timeout=None),
            "wait": lambda vm: vm.wait(timeout=None),
            "wait without a monitor": lambda vm: vm.wait(timeout=60),
        }
        for name, wait in waits.items():
            with self.subTest(name):
                vm = machine("fake-deaf", kind=Ending)
                vm.set_qmp_monitor(enabled="without" not in name)
                vm.launch()
                started = time.monotonic()
                self.interrupted(functools.partial(wait, vm), vm.is_ending.wait)
                self.assertLess(time.monotonic() - started, 20)
                self.assertEqual(vm.exitcode(), -9)
                self.assertFalse(vm._launched)

    def test_an_alarm_during_a_command_or_event_leaves_the_machine_usable(self) -> None:
        waits: List[End] = [
            lambda vm: vm.cmd("fake-silent"),
            lambda vm: vm.qmp("fake-silent"),
            lambda vm: vm.event_wait("NONE", timeout=60),
            lambda vm: vm.get_qmp_events(wait=True),
        ]
        with machine() as vm:
            vm.launch()
            for wait in waits:
                self.interrupted(functools.partial(wait, vm), lambda: None)
                self.assertEqual(vm.cmd("fake-echo", a=1), {"a": 1})

    def test_ctrl_c_during_a_shutdown_kills_qemu(self) -> None:
        vm = machine("fake-deaf", kind=Ending)
        vm.launch()

        def press() -> None:
            vm.is_ending.wait()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            vm.shutdown(timeout=None)
        thread.join()
        self.assertEqual((vm.exitcode(), vm._launched), (-9, False))

    def test_a_machine_may_end_in_another_thread(self) -> None:
        vm = machine()
        vm.launch()
        thread = threading.Thread(target=vm.shutdown)
        thread.start()
        thread.join()
        self.assertEqual(vm.exitcode(), 0)

    def test_threads_that_end_a_machine_at_a_time_wait_for_the_first(self) -> None:
        class Counting(QEMUMachine):
            def shutdown(self, *args: Any, **kwargs: Any) -> None:
                entered.release()
                super().shutdown(*args, **kwargs)

            def _do_shutdown(self, *args: Any) -> None:
                ends.append(threading.current_thread())
                if len(ends) == 1:
                    for _ in threads:
                        entered.acquire()
                super()._do_shutdown(*args)

        def end(name: str) -> None:
            getattr(vm, name)()
            found.append((vm.exitcode(), vm._launched))

        entered = threading.Semaphore(0)
        ends: List[threading.Thread] = []
        found: List[Tuple[int, bool]] = []
        vm = machine(kind=Counting)
        for _ in range(2):
            vm.launch()
            names = ("shutdown", "shutdown", "wait")
            threads = [threading.Thread(target=end, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
                # The first one is the one that ends it.
                while not ends:
                    pass
            for thread in threads:
                thread.join()
            self.assertEqual((ends, found), (threads[:1], [(0, False)] * 3))
            ends.clear()
            found.clear()

    def test_another_thread_can_end_a_wait_without_a_limit(self) -> None:
        for hard in (True, False):
            vm = machine("fake-deaf", kind=Ending)
            vm.launch()
            thread = threading.Thread(target=vm.wait, args=(None,))
            thread.start()
            vm.is_ending.wait()
            if hard:
                vm.kill()
            else:
                with self.assertRaises(AbnormalShutdown):
                    vm.shutdown(timeout=0.1)
            self.assertEqual((vm.exitcode(), vm._launched), (-9, False))
            thread.join()

    def test_a_signal_s_handler_may_end_a_machine_in_the_middle_of_its_end(self) -> None:
        class Nested(QEMUMachine):
            def _early_cleanup(self) -> None:
                super()._early_cleanup()
                calls.append(self)
                if len(calls) == 1:
                    self.kill()

        calls: List[Any] = []
        vm = machine(kind=Nested)
        vm.launch()
        vm.kill()
        self.assertEqual((vm.exitcode(), vm._launched), (-9, False))

    def test_a_machine_that_is_dropped_alive_warns_of_no_file(self) -> None:
        vm = machine()
        vm.launch()
        process = vm._popen
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del vm
            self.assertEqual([str(it.message) for it in caught], [])
        finally:
            process.kill()
            process.wait()

    def test_a_machine_is_freed_without_a_garbage_collection(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for args, wrapper in (([], WRAPPER), (["fake-exit=1"], WRAPPER), ([], ["/nonexistent"])):
            vm = machine(*args, kind=QEMUQtestMachine)
            vm._wrapper, vm._drain_console = wrapper, True
            vm.set_console()
            with contextlib.suppress(VMLaunchFailure):
                vm.launch()
                vm.console_socket.sendall(b"x")
                vm.console_socket.recv(1)
            vm.shutdown()
            dead = weakref.ref(vm)
            del vm
            self.assertIsNone(dead())
            self.assertEqual(gc.collect(), 0)
