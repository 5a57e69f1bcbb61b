"""Whatever happens to the Python process, no QEMU is left."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from qemu_machine import ForkError

from support import LONG, Script, Test, has_ended, tiny

class Ends(unittest.TestCase):
    def check(self, body: str, status: int = 0) -> None:
        """A program with a machine does this, and ends with this status. Nothing is
        left of the machine."""
        script = Script(body)
        ended = script.finish()
        self.assertEqual(ended.returncode, status, ended.stderr)
        self.assertTrue(has_ended(script.qemu))
        if status == 0:
            self.assertEqual(ended.stderr, "")
        self.assertNotIn("Fatal", ended.stderr)
        self.assertNotIn("panicked", ended.stderr)

    def test_a_program_returns_with_a_machine_alive(self) -> None:
        self.check("")

    def test_a_program_exits_by_sys_exit(self) -> None:
        self.check("sys.exit(3)", 3)

    def test_a_program_raises(self) -> None:
        self.check("raise ValueError", 1)

    def test_a_program_exits_at_once(self) -> None:
        self.check("os._exit(4)", 4)

    def test_a_program_is_aborted(self) -> None:
        self.check("os.abort()", -6)

    def test_a_program_is_killed(self) -> None:
        self.check("os.kill(os.getpid(), 9)", -9)

    def test_a_program_is_terminated(self) -> None:
        self.check("os.kill(os.getpid(), 15); time.sleep(60)", -15)

    def test_a_thread_exits_by_sys_exit(self) -> None:
        self.check("""
t = threading.Thread(target=sys.exit)
t.start()
t.join()
assert vm.is_running
""")

    def test_a_thread_raises_and_another_still_has_the_machine(self) -> None:
        self.check("""
threading.excepthook = lambda _: None
t = threading.Thread(target=lambda: 1 / 0)
t.start()
t.join()
assert vm.qmp.execute("query-status")["running"]
""")

    def test_a_daemon_thread_waits_at_the_end(self) -> None:
        self.check("""
threading.Thread(target=lambda: vm.wait(timeout=None), daemon=True).start()
""")

    def test_daemon_threads_execute_commands_at_the_end(self) -> None:
        self.check("""
def work():
    while True: vm.qmp.execute("query-status")
for _ in range(4): threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
""")

    def test_a_daemon_thread_runs_an_event_loop_at_the_end(self) -> None:
        self.check("""
import asyncio
async def work():
    while True: await vm.aio.execute("query-status")
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()
time.sleep(0.2)
""")

    def test_a_handler_of_the_end_uses_the_machine(self) -> None:
        self.check("""
import atexit, qemu_machine._machine as m
atexit.unregister(m._native.end_all)
atexit.register(lambda: print(vm.wait().signal))
atexit.register(m._native.end_all)
""")

    def test_an_object_that_is_collected_at_the_end_uses_the_machine(self) -> None:
        self.check("""
class Last:
    def __init__(self, vm): self.vm = vm
    def __del__(self):
        assert self.vm.shutdown().signal == 9
        assert not self.vm.is_running
        try:
            self.vm.qmp.execute("query-status")
        except Exception as error:
            assert type(error).__name__ == "MachineEnded"
last = Last(vm)
""")

    def test_a_machine_in_a_cycle_is_alive_at_the_end(self) -> None:
        self.check("vm.self = vm; vm.more = [vm]")

    def test_a_program_executes_another(self) -> None:
        self.check("os.execv('/bin/true', ['true'])")


class Forks(Test):
    def test_a_fork_is_refused_and_harms_nothing(self) -> None:
        with tiny() as vm, vm.events("STOP") as events:
            qmp, console = vm.qmp, vm.console
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.close(read)
                    for use in (
                        lambda: vm.qmp,
                        lambda: qmp.execute("quit"),
                        lambda: console.send("poweroff\n"),
                        lambda: events.wait(timeout=1),
                        lambda: vm.kill(),
                    ):
                        try:
                            use()
                        except ForkError as error:
                            os.write(write, str(error).encode() + b"\n")
                    vm.__exit__(None, None, None)
                    del vm, qmp, console, events
                    status = 0
                finally:
                    os._exit(status)
            os.close(write)
            with os.fdopen(read) as said:
                lines = said.read().splitlines()
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual(len(lines), 5, lines)
            self.assertIn(f"belongs to process {os.getpid()}", lines[0])
            self.assertTrue(vm.qmp.execute("query-status")["running"])
            vm.qmp.execute("stop")
            self.assertEqual(events.wait().name, "STOP")

    def test_a_fork_that_leaves_the_block_ends_nothing(self) -> None:
        script = Script("""
child = os.fork()
if child == 0:
    vm.__exit__(None, None, None)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(vm.qmp.execute("query-status")["running"])
""")
        ended = script.finish()
        self.assertEqual((ended.stdout, ended.stderr), ("True\n", ""))
        self.assertTrue(has_ended(script.qemu))

    def test_a_fork_may_launch_its_own_machine(self) -> None:
        script = Script("""
child = os.fork()
if child == 0:
    with tiny() as own:
        own.console.expect("ready")
        status = 0 if own.qmp.execute("query-status")["running"] else 1
    sys.exit(status)
assert os.waitpid(child, 0)[1] == 0
print(vm.qmp.execute("query-status")["running"])
""")
        ended = script.finish()
        self.assertEqual((ended.stdout, ended.stderr), ("True\n", ""))

    def test_multiprocessing_works_by_fork_and_by_spawn(self) -> None:
        script = Script("""
import multiprocessing
from test_process import launch_one
for method in ("fork", "spawn", "forkserver"):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(launch_one, range(3)) == ["CommandError"] * 3, method
print(vm.qmp.execute("query-status")["running"])
""")
        ended = script.finish()
        self.assertEqual((ended.stdout, ended.stderr), ("True\n", ""))


def launch_one(number: int) -> str:
    """Work for a pool: a machine of its own, and an exception that is pickled."""
    try:
        with tiny() as vm:
            vm.qmp.execute("no-such-command")
    except Exception as error:
        return type(error).__name__
    return "no exception"


class Subinterpreters(unittest.TestCase):
    HEAD = """
import sys
body = '''
import os
try:
    from qemu_machine import Machine
    os.write(1, b"imported")
except ImportError as error:
    os.write(1, str(error).encode())
'''
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    made = interpreters.create("legacy")
    run = interpreters.exec
else:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
    run = interpreters.run_string
"""

    def check(self, body: str) -> None:
        """A program does this, in which the subinterpreter is refused and the main
        interpreter has a machine."""
        ended = subprocess.run(
            [sys.executable, "-c", self.HEAD + body],
            capture_output=True,
            text=True,
            timeout=LONG,
            cwd=Path(__file__).parent,
        )
        self.assertIn("this is a subinterpreter: use threads", ended.stdout, ended.stderr)
        self.assertIn("the main one has True", ended.stdout, ended.stderr)
        self.assertNotIn("imported", ended.stdout)
        self.assertEqual(ended.returncode, 0, ended.stderr)

    USE = """
from support import tiny
with tiny() as vm:
    print("the main one has", vm.is_running)
"""

    def test_they_are_refused_after_the_main_interpreter(self) -> None:
        self.check(self.USE + "run(made, body)")

    def test_they_are_refused_before_the_main_interpreter(self) -> None:
        self.check("run(made, body)" + self.USE)

    def test_the_end_of_one_harms_nothing(self) -> None:
        self.check("run(made, body); interpreters.destroy(made)" + self.USE)


class Signals(Test):
    def test_a_signal_to_the_whole_group_reaches_python_and_not_the_reports(self) -> None:
        script = Script("""
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
try:
    print("ready", flush=True)
    vm.wait(timeout=60)
finally:
    print(vm.is_running, flush=True)
""")
        assert script.process.stdout is not None
        script.process.stdout.readline()
        script.process.send_signal(signal.SIGTERM)
        ended = script.finish()
        self.assertEqual((ended.returncode, ended.stdout), (7, "True\n"))
        self.assertTrue(has_ended(script.qemu))
