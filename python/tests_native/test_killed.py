"""Python is killed at the worst moments: no QEMU and no file is left."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Dict, Set

from support import LONG, QUIET, Script, Test, has_ended, tiny

#: Launches, uses and ends machines until it is killed.
BUSY = """
import asyncio, threading
from support import tiny

def plain():
    while True:
        with tiny() as vm:
            vm.qmp.execute("query-status")

async def coroutine():
    while True:
        async with tiny() as vm:
            await vm.aio.console.expect("> ")

threading.Thread(target=plain).start()
print("begun", flush=True)
asyncio.run(coroutine())
"""

#: How often it is killed.
ROUNDS = 25


class Killed(Test):
    def test_sigkill_at_random_moments_leaves_nothing(self) -> None:
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            marked = {**os.environ, "TMPDIR": folder, "QEMU_MACHINE_TEST": folder}
            for number in range(ROUNDS):
                moment = chance.uniform(0, 0.4)
                with self.subTest(seed=seed, round=number, moment=moment):
                    self.kill_after(moment, marked)
                    for pid in processes_with(folder):
                        self.assertTrue(has_ended(pid), pid)
                    self.assertEqual(processes_with(folder), set())
                    self.launch_one(marked)
                    self.assertEqual(os.listdir(folder), [])

    def kill_after(self, moment: float, environment: Dict[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, *QUIET, "-c", BUSY], env=environment, text=True,
            stdout=subprocess.PIPE, cwd=Path(__file__).parent,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "begun\n")
            # The moment itself is what this tests.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
        self.assertEqual(process.returncode, -signal.SIGKILL)

    def launch_one(self, environment: Dict[str, str]) -> None:
        """A launch removes the files of programs that were killed."""
        program = "from support import tiny\nwith tiny(): pass"
        subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, timeout=LONG,
            cwd=Path(__file__).parent,
        )  # fmt: skip

    def test_a_fork_of_a_killed_program_lives_on_without_the_machine(self) -> None:
        script = Script("""
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    print("lived on", flush=True)
    os._exit(0)
signal = __import__("signal")
signal.pause()
""")
        process = script.process
        assert process.stdout is not None and process.stdin is not None
        fork = int(process.stdout.readline())
        process.kill()
        self.assertTrue(has_ended(script.qemu))
        os.kill(fork, 0)
        process.stdin.write("\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "lived on\n")
        script.finish()
        self.assertTrue(has_ended(fork))

    def test_a_killed_worker_of_multiprocessing_takes_only_its_own_machine(self) -> None:
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method), tiny() as vm:
                context = multiprocessing.get_context(method)
                ours, theirs = context.Pipe()
                worker = context.Process(target=launch_and_wait, args=(theirs,))
                worker.start()
                theirs.close()
                try:
                    qemu = ours.recv()
                finally:
                    worker.kill()
                    worker.join()
                    ours.close()
                self.assertEqual(worker.exitcode, -signal.SIGKILL)
                self.assertTrue(has_ended(qemu))
                self.assertTrue(vm.qmp.execute("query-status")["running"])


def launch_and_wait(connection: "Connection[int, int]") -> None:
    """Work for a process: a machine of its own."""
    vm = tiny().launch()
    connection.send(vm.pid)
    vm.wait(timeout=None)


def processes_with(mark: str) -> Set[int]:
    """The processes whose environment has this value."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        # Others' processes, and those that end now.
        with contextlib.suppress(OSError):
            if f"QEMU_MACHINE_TEST={mark}".encode() in entry.joinpath("environ").read_bytes():
                found.add(int(entry.name))
    return found
