"""Compares the time of implementations of `qemu.machine` and `qemu.qmp`.

Each argument is a folder that holds `qemu`. Each runs in processes of its own, in
turns. Run it for a quiet minute, for example:

    python3 python/measure/replacement.py python/qemu_machine/compat /other/python
"""

import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

ROUND_TRIPS = 3000
LAUNCHES = 100
EVENTS = 100_000
TURNS = 3
LIMIT = 30
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
ARGUMENTS = ["-machine", "none", "-nodefaults", "-S"]
EVENT = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n'
GREETING = b'{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0},'
GREETING += b' "package": ""}, "capabilities": []}}\r\n'


def timed(work: Callable[[], Any]) -> Tuple[float, float]:
    """The seconds of this work, and those of the processor in this process."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent


def round_trips() -> Dict[str, float]:
    from qemu.machine import QEMUMachine

    with QEMUMachine(QEMU, ARGUMENTS) as vm:
        vm.launch()

        def work() -> None:
            for _ in range(ROUND_TRIPS):
                vm.cmd("query-status")

        timed(work)
        seconds, spent = timed(work)
    micro = 1e6 / ROUND_TRIPS
    return {"round trip, us": seconds * micro, "round trip, CPU us": spent * micro}


def launches() -> Dict[str, float]:
    """Launches and ends in turns with the floor: the same without a library."""
    from qemu.machine import QEMUMachine

    def one() -> None:
        with QEMUMachine(QEMU, ARGUMENTS) as vm:
            vm.launch()

    def floor() -> None:
        ours, theirs = socket.socketpair()
        number = theirs.fileno()
        monitor = ["-chardev", f"socket,id=m,fd={number}", "-mon", "chardev=m,mode=control"]
        command = [QEMU, "-display", "none", "-vga", "none", *monitor, *ARGUMENTS]
        with subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL) as qemu:
            theirs.close()
            with ours, ours.makefile("rb") as lines:
                lines.readline()
                for name in (b"qmp_capabilities", b"quit"):
                    ours.sendall(b'{"execute": "' + name + b'"}\n')
                    lines.readline()
            qemu.wait()

    first = timed(one)[0]
    taken = [(*timed(one), timed(floor)[0]) for _ in range(LAUNCHES)]
    seconds, spent, least = (sorted(it) for it in zip(*taken))
    return {
        "first launch and end, ms": first * 1e3,
        "launch and end, ms": statistics.median(seconds) * 1e3,
        "launch and end, CPU ms": sum(spent) / LAUNCHES * 1e3,
        "floor of launch and end, ms": statistics.median(least) * 1e3,
        "launch and end, to the floor": statistics.median(seconds) / statistics.median(least),
        "the quickest, to the quickest floor": seconds[0] / least[0],
    }


def events() -> Dict[str, float]:
    from qemu.qmp.legacy import QEMUMonitorProtocol

    ours, theirs = socket.socketpair()

    def serve() -> None:
        theirs.sendall(GREETING)
        # QEMU's package ends no command with a newline.
        theirs.recv(4096)
        theirs.sendall(b'{"return": {}}\r\n')
        for _ in range(EVENTS // 1000):
            theirs.sendall(EVENT * 1000)

    # A thread would take time from the client.
    server = os.fork()
    if server == 0:
        ours.close()
        with contextlib.suppress(OSError):
            serve()
        os._exit(0)
    theirs.close()
    monitor = QEMUMonitorProtocol(ours)
    monitor.connect()

    begun, number = time.perf_counter(), 0
    # A slow one must end, too.
    while number < EVENTS and time.perf_counter() - begun < 10:
        for _ in range(100):
            monitor.pull_event(wait=True)
        number += 100
    seconds = time.perf_counter() - begun
    # It may be closed already.
    with contextlib.suppress(OSError, EOFError):
        monitor.close()
    with contextlib.suppress(OSError):
        ours.close()
    os.waitpid(server, 0)
    return {"events, thousands a second": number / seconds / 1e3}


def console() -> Dict[str, float]:
    from qemu.machine.console_socket import ConsoleSocket

    # A slow one must end, too.
    for megabytes in (0.05, 2.0, 64.0):
        amount = int(megabytes * 1e6)
        ours, theirs = socket.socketpair()
        drained = ConsoleSocket(sock_fd=os.dup(ours.fileno()), drain=True)
        writer = threading.Thread(target=theirs.sendall, args=(bytes(amount),))
        begun = time.perf_counter()
        writer.start()
        left = amount
        while left:
            left -= len(drained.recv(min(left, 50_000)))
        seconds = time.perf_counter() - begun
        writer.join()
        theirs.close()
        with contextlib.suppress(OSError):
            drained.close()
        if seconds > 3:
            break
    return {"console, MB/s": megabytes / seconds}


WORKS = (round_trips, launches, events, console)


def measured(folder: str, work: str) -> Dict[str, float]:
    """What a process with this folder on its path measures. Nothing if it fails."""
    env = {**os.environ, "PYTHONPATH": folder}
    command = [sys.executable, __file__, "--child", work]
    with contextlib.suppress(subprocess.SubprocessError):
        output = subprocess.check_output(command, env=env, timeout=LIMIT)
        return dict(json.loads(output))
    return {}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(globals()[sys.argv[2]]()))
        return
    folders = [os.path.abspath(folder) for folder in sys.argv[1:]]
    for work in WORKS:
        found: Dict[str, Dict[str, List[float]]] = {}
        for _ in range(TURNS):
            for folder in folders:
                for name, value in measured(folder, work.__name__).items():
                    found.setdefault(name, {}).setdefault(folder, []).append(value)
        for name, values in found.items():
            medians = [f"{statistics.median(values.get(it, [0])):.3f}" for it in folders]
            print(f"{name}: " + ", ".join(medians), flush=True)


main()
