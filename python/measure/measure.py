"""Prints what the README says about time.

Run it with the Python of an environment that has the wheel, for a quiet minute.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List

from qemu_machine import Machine

CRATE = Path(__file__).resolve().parents[1]
ROUND_TRIPS = 5000


def import_time() -> float:
    """How long the import of `Machine` takes, in seconds: the shortest of 15."""
    program = "import time; t = time.perf_counter(); from qemu_machine import Machine; "
    program += "print(time.perf_counter() - t)"
    runs = [subprocess.check_output([sys.executable, "-c", program]) for _ in range(15)]
    return min(map(float, runs))


def idle() -> Machine:
    """A machine without a guest."""
    return Machine("qemu-system-x86_64", args=["-machine", "none", "-nodefaults", "-S"])


def by_python() -> float:
    with idle() as vm:
        for _ in range(ROUND_TRIPS // 10):
            vm.qmp.execute("query-status")
        execute = vm.qmp.execute
        begun = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            execute("query-status")
        return (time.perf_counter() - begun) / ROUND_TRIPS


def by_coroutines() -> float:
    import asyncio

    async def main() -> float:
        async with idle() as vm:
            execute = vm.aio.qmp.execute
            for _ in range(ROUND_TRIPS // 10):
                await execute("query-status")
            begun = time.perf_counter()
            for _ in range(ROUND_TRIPS):
                await execute("query-status")
            return (time.perf_counter() - begun) / ROUND_TRIPS

    return asyncio.run(main())


def by_rust() -> float:
    command = ["cargo", "run", "--release", "--quiet", "--locked", "--example", "round_trip"]
    target = {"CARGO_TARGET_DIR": str(CRATE.parent / "target/python")}
    return float(subprocess.check_output(command, cwd=CRATE, env={**os.environ, **target}))


def interruption() -> float:
    """How long after a signal its handler's exception ends a wait: the longest of
    20."""

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    longest = 0.0
    with idle() as vm:
        for number in range(20):
            after = 0.05 + number * 0.003
            begun = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, after)
            try:
                vm.wait(timeout=60)
            except Alarm:
                longest = max(longest, time.perf_counter() - begun - after)
    return longest


def main() -> None:
    by_rust()  # builds it
    forms: List[Callable[[], float]] = [by_rust, by_python, by_coroutines]
    times = [[form() for form in forms] for _ in range(5)]
    rust, python, coroutines = (statistics.median(of) for of in zip(*times))
    print(f"import: {import_time() * 1000:.1f} ms")
    print(f"round trip in Rust, by .wait(): {rust * 1e6:.1f} us")
    print(f"round trip in Python: {python * 1e6:.1f} us, {python / rust:.2f} of Rust's")
    print(f"round trip with await: {coroutines * 1e6:.1f} us")
    print(f"interruption: at most {interruption() * 1000:.1f} ms after the signal")


main()
