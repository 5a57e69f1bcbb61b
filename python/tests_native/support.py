"""Machines for the tests, and what the tests ask the system."""

from __future__ import annotations

import contextlib
import glob
import os
import select
import signal
import subprocess
import sys
import unittest
from pathlib import Path
from types import FrameType
from typing import Any, Iterator, Optional

from qemu_machine import Machine, tiny_guest

ROOT = Path(__file__).resolve().parents[2]
QEMUS = sorted(glob.glob(str(ROOT / "target/qemu/*/qemu-system-x86_64")))
LINUX = ROOT / "target/guests/linux"

# A shell may have started the tests with SIGINT ignored, and programs inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Long enough for a loaded host. No test waits so long if all is well.
LONG = 60.0


def tiny(binary: str = "qemu-system-x86_64", **options: Any) -> Machine:
    """A machine with the tiny guest."""
    options.setdefault("accel", "tcg")
    options.setdefault("console", True)
    return Machine(binary, firmware=tiny_guest(), **options)


def has_ended(pid: int, within: float = LONG) -> bool:
    """Whether a process ends in time. It may be reaped by anyone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within)[0])
    finally:
        os.close(descriptor)


class Interrupted(Exception):
    """What the handler of an alarm raises."""


@contextlib.contextmanager
def alarm(after: float = 0.1) -> Iterator[None]:
    """A timer whose handler raises :class:`Interrupted`."""

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


#: Python warns of every fork of a process with threads, from 3.12 on.
QUIET = ["-W", "ignore:This process:DeprecationWarning"]


class Script:
    """A Python program that prints the process id of its QEMU, and then does what
    the test is about."""

    HEAD = """
import os, sys, threading, time
from support import tiny
vm = tiny().launch()
print(vm.pid, flush=True)
"""

    def __init__(self, body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *QUIET, "-c", self.HEAD + body],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.qemu = int(line)

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Waits for the end of the program."""
        out, error = self.process.communicate(timeout=LONG)
        return subprocess.CompletedProcess([], self.process.returncode, out, error)


class Test(unittest.TestCase):
    """A test that may leave no child behind."""

    def each_qemu(self) -> Iterator[str]:
        """Each QEMU that the set-up made, in a subtest."""
        self.assertTrue(QEMUS, "no QEMU: run `cargo xtask setup`")
        for binary in QEMUS:
            with self.subTest(binary):
                yield binary
