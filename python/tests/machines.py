"""Machines whose QEMU is the fake one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any, Callable, List, Type

from tests.scripted import FOLDER, Test, descriptors, scratch

from qemu.machine import QEMUMachine, QEMUQtestMachine

FAKE = os.path.join(os.path.dirname(__file__), "fake_qemu.py")
#: The folder for temporary folders. Each test has its own.
BASE = ["/tmp"]
#: Starts the fake. Without the site's packages Python is quicker.
WRAPPER = [sys.executable, "-SE"]


def machine(*args: str, kind: Type[QEMUMachine] = QEMUMachine, **options: Any) -> Any:
    """A machine whose QEMU is the fake."""
    options.setdefault("base_temp_dir", BASE[0])
    return kind(FAKE, list(args), wrapper=WRAPPER, **options)


def qtest_machine(*args: str, **options: Any) -> Any:
    """A machine with a qtest channel."""
    return machine(*args, kind=QEMUQtestMachine, **options)


def fake_exit_codes(base: str) -> Any:
    """The exit code of a machine that a worker of multiprocessing launches."""
    with machine(base_temp_dir=base) as vm:
        vm.launch()
        vm.cmd("fake-echo")
    return vm.exitcode()


def wait_for_end(pid: int) -> None:
    """Wait until a process that is no child of ours has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)


def child_code(text: str) -> List[str]:
    """The command line of a Python that can use the fake's machines."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [root, FOLDER]
    begin = f"import sys; sys.path[:0] = {paths!r}\nfrom tests.machines import *\n"
    return [sys.executable, "-W", "error", "-c", begin + text]


def run_child(text: str) -> "subprocess.CompletedProcess[str]":
    """Run such a Python, and return its output."""
    return subprocess.run(
        child_code(text),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


class Interrupted(OSError):
    """Raised by the handler of a signal."""


class MachineTest(Test):
    """A test that leaves neither descriptors nor folders."""

    def setUp(self) -> None:
        super().setUp()
        folder = scratch()
        BASE[0] = folder.__enter__()
        self.addCleanup(folder.__exit__, None, None, None)
        # The guardian's pipe stays.
        with machine() as vm:
            vm.launch()
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(os.listdir(BASE[0]), []))
        self.addCleanup(lambda: self.assertEqual(len(descriptors()), len(before)))

    def interrupted(self, wait: Callable[[], Any], when: Callable[[], Any]) -> None:
        """Call, and raise in a signal's handler after ``when`` has returned."""

        def handle(number: int, frame: Any) -> None:
            raise Interrupted

        def send() -> None:
            is_ready.wait()
            when()
            signal.pthread_kill(main, signal.SIGUSR1)

        is_ready = threading.Event()
        main = threading.main_thread().ident
        assert main is not None
        previous = signal.signal(signal.SIGUSR1, handle)
        sender = threading.Thread(target=send)
        try:
            sender.start()
            with self.assertRaises(Exception) as caught:
                is_ready.set()
                wait()
                signal.pause()  # The signal may come after the wait's end.
            self.assertTrue(is_caused_by(caught.exception, Interrupted), caught.exception)
        finally:
            sender.join()
            signal.signal(signal.SIGUSR1, previous)


def is_caused_by(err: Any, kind: Type[BaseException]) -> bool:
    """Return whether an error or one of its causes is of this kind."""
    while err is not None:
        if isinstance(err, kind):
            return True
        err = err.__cause__
    return False
