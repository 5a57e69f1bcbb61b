"""Handlers of signals interrupt every wait, and nothing is lost."""

import os
import signal
import tempfile
import threading
import time
import unittest
from typing import Any, Callable, Dict

from qemu_machine import Machine, connect

from support import LONG, Interrupted, Script, Test, alarm, has_ended, tiny

#: A time that is much shorter than the limits, and possible on a loaded host. The
#: promise is 0.1 s; the program `measure` prints what it is.
SOON = 10.0


class EveryWait(Test):
    def waits(self, vm: Machine) -> Dict[str, Callable[[], Any]]:
        agent = vm.agent
        return {
            "expect": lambda: vm.console.expect("never", timeout=LONG),
            "events": lambda: vm.events("NEVER").wait(timeout=LONG),
            "iteration": lambda: list(vm.events("NEVER")),
            "wait": lambda: vm.wait(timeout=LONG),
            "shell": lambda: vm.console.shell(prompt="never", timeout=LONG),
            "agent": lambda: agent.ping(timeout=LONG),
            "file": lambda: agent.read_file("/x", timeout=None),
        }

    def test_an_alarm_interrupts_it(self) -> None:
        with tiny(agent=True) as vm:
            vm.console.expect("> ")
            for name, wait in self.waits(vm).items():
                with self.subTest(name):
                    begun = time.monotonic()
                    with self.assertRaises(Interrupted), alarm():
                        wait()
                    self.assertLess(time.monotonic() - begun, SOON)
                    self.assertTrue(vm.qmp.execute("query-status")["running"])

    def test_an_alarm_interrupts_launch_and_connect(self) -> None:
        hanging = Machine("sleep", wrapper=["sh", "-c", "exec sleep 60"], launch_timeout=LONG)
        with self.assertRaises(Interrupted), alarm():
            hanging.launch()
        self.assertFalse(hanging.is_running)
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(Interrupted), alarm():
                connect(os.path.join(folder, "nobody"), timeout=LONG)

    def test_nothing_is_lost_by_an_interruption(self) -> None:
        with tiny() as vm, vm.events("STOP") as events:
            with self.assertRaises(Interrupted), alarm():
                events.wait(timeout=LONG)
            vm.qmp.execute("stop")
            self.assertEqual(events.wait().name, "STOP")
            vm.qmp.execute("cont")
            with self.assertRaises(Interrupted), alarm():
                vm.console.expect("never", timeout=LONG)
            vm.console.expect("ready")
            vm.console.expect("> ")

    def test_many_alarms_leave_every_command_with_its_own_reply(self) -> None:
        interrupted = 0
        with tiny() as vm:
            for number in range(100):
                try:
                    with alarm(0.0003):
                        vm.qmp.execute("query-name")
                except Interrupted:
                    interrupted += 1
                self.assertIn("status", vm.qmp.execute("query-status"), number)

    def test_an_alarm_during_the_end_of_the_block_ends_the_machine_first(self) -> None:
        # It ignores `quit` for a while: it is stopped.
        with self.assertRaises(Interrupted):
            with tiny() as vm:
                pid = vm.pid or 0
                os.kill(pid, signal.SIGSTOP)
                signal.signal(signal.SIGALRM, lambda number, frame: _raise())
                signal.setitimer(signal.ITIMER_REAL, 0.2)
        self.assertTrue(has_ended(pid))

    def test_a_wait_in_another_thread_does_not_keep_the_handlers_from_running(self) -> None:
        with tiny() as vm:
            waiting = threading.Thread(target=lambda: vm.wait(timeout=LONG))
            waiting.start()
            with self.assertRaises(Interrupted), alarm():
                waiting.join()
            vm.console.expect("> ")
            vm.console.send("poweroff\n")
            waiting.join()

    def test_other_threads_run_during_a_wait(self) -> None:
        counted = 0
        done = threading.Event()

        def count() -> None:
            nonlocal counted
            while not done.is_set():
                counted += 1

        with tiny() as vm:
            thread = threading.Thread(target=count)
            thread.start()
            with self.assertRaises(TimeoutError):
                vm.console.expect("never", timeout=0.2)
            done.set()
            thread.join()
        self.assertGreater(counted, 100)


class ControlC(unittest.TestCase):
    def test_it_is_a_keyboard_interrupt_and_ends_the_machine(self) -> None:
        script = Script("""
try:
    sys.stderr.write("waiting\\n")
    vm.console.expect("never", timeout=60)
finally:
    vm.__exit__(*sys.exc_info())
""")
        assert script.process.stderr is not None
        script.process.stderr.readline()
        script.process.send_signal(signal.SIGINT)
        ended = script.finish()
        self.assertIn("KeyboardInterrupt", ended.stderr)
        self.assertTrue(has_ended(script.qemu))


def _raise() -> None:
    raise Interrupted
