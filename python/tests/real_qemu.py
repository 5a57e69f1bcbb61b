"""The clients and tools on every real QEMU that the set-up made.

``unittest`` finds this file only by its name: the quick tests need no QEMU.
"""

import asyncio
import contextlib
import glob
import io
import os
import signal
import socket
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Iterator, Tuple
from unittest import mock

from tests.scripted import Test, scratch

from qemu.machine import QEMUMachine
from qemu.machine.machine import AbnormalShutdown, VMLaunchFailure
from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, QMPClient
from qemu.qmp.legacy import QEMUMonitorProtocol
from qemu.utils import list_accel, tcg_available
from qemu.utils.qom import QOMTree

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = sorted(glob.glob(str(ROOT / "target/qemu/*/qemu-system-x86_64")))
ARGUMENTS = ["-machine", "none", "-nodefaults", "-display", "none", "-S"]


@contextlib.contextmanager
def running(binary: str) -> Iterator[Tuple["subprocess.Popen[bytes]", socket.socket]]:
    """A QEMU, and the other end of its monitor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        monitor = ["-chardev", f"socket,id=mon,fd={number}", "-mon", "chardev=mon,mode=control"]
        command = [binary, *ARGUMENTS, *monitor]
        process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL)
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


class RealQemu(Test):
    """Each test runs on each QEMU."""

    def setUp(self) -> None:
        super().setUp()
        self.assertGreaterEqual(len(LAUNCHERS), 1, "run `cargo xtask setup` first")

    def test_a_session_of_the_blocking_client(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary), running(binary) as (process, sock):
                with QEMUMonitorProtocol(sock) as monitor:
                    greeting = monitor.connect()
                    assert greeting is not None
                    self.assertIn("qemu", greeting["QMP"]["version"])
                    self.assertEqual(monitor.cmd("query-status")["running"], False)
                    self.assertEqual(monitor.cmd_raw("cont"), {"return": {}})
                    event = monitor.pull_event(wait=10)
                    assert event is not None
                    self.assertEqual(event["event"], "RESUME")
                    with self.assertRaises(ExecuteError) as caught:
                        monitor.cmd("no-such-command")
                    self.assertEqual(caught.exception.error_class, "CommandNotFound")
                    with open(os.devnull, "rb") as file:
                        monitor.send_fd_scm(file.fileno())
                    self.assertEqual(monitor.cmd("getfd", fdname="null"), {})
                    self.assertEqual(monitor.cmd("quit"), {})
                    self.assertEqual(process.wait(), 0)
                    with self.assertRaises(ExecInterruptedError):
                        monitor.cmd("query-status")

    def test_a_session_of_the_asyncio_client(self) -> None:
        async def session(sock: socket.socket) -> None:
            client = QMPClient("real")
            await client.connect(sock)
            resumes = EventListener("RESUME")
            with client.listen(resumes):
                names = ("query-name", "query-version", "query-status")
                await asyncio.gather(*(client.execute(name) for name in names))
                await client.execute("cont")
                self.assertEqual((await resumes.get())["event"], "RESUME")
            # QEMU reads the descriptor before the command.
            with open(os.devnull, "rb") as file:
                client.send_fd_scm(file.fileno())
            await client.execute("getfd", {"fdname": "null"})
            await client.execute("quit")
            with contextlib.suppress(EOFError):
                await client.disconnect()

        for binary in LAUNCHERS:
            with self.subTest(binary), running(binary) as (process, sock):
                asyncio.run(session(sock))
                self.assertEqual(process.wait(), 0)

    def test_qemu_connects_to_a_listening_client(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary), scratch() as folder:
                path = os.path.join(folder, "qmp")
                with QEMUMonitorProtocol(path, server=True) as monitor:
                    command = [binary, *ARGUMENTS, "-qmp", f"unix:{path}"]
                    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
                        self.assertIn("QMP", monitor.accept())
                        monitor.cmd("quit")
                        self.assertEqual(process.wait(), 0)

    def test_tools_read_a_real_qemu(self) -> None:
        for binary in LAUNCHERS:
            self.assertIn("tcg", list_accel(binary))
            self.assertTrue(tcg_available(binary))
            with self.subTest(binary), scratch() as folder:
                path = os.path.join(folder, "qmp")
                monitor = ["-qmp", f"unix:{path},server=on,wait=off", "-daemonize"]
                pidfile = os.path.join(folder, "pid")
                command = [binary, *ARGUMENTS, *monitor, "-pidfile", pidfile]
                # It returns when it listens.
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
                out = io.StringIO()
                words = ["qom-tree", "-s", path, "/machine"]
                try:
                    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(out):
                        self.assertEqual(QOMTree.entry_point(), 0)
                finally:
                    with QEMUMonitorProtocol(path) as client:
                        client.connect()
                        client.cmd("quit")
                self.assertIn("  type: none-machine (string)", out.getvalue())

    def test_a_machine_lives_and_ends(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary), scratch() as folder:
                vm = QEMUMachine(binary, ["-S", "-nodefaults"], base_temp_dir=folder)
                vm.set_machine("none")
                for _ in range(2):
                    vm.launch()
                    self.assertEqual(vm.cmd("query-status")["running"], False)
                    vm.cmd("cont")
                    self.assertEqual(vm.event_wait("RESUME")["event"], "RESUME")
                    with open(os.devnull, "rb") as file:
                        vm.send_fd_scm(file.fileno())
                    self.assertEqual(vm.qmp("getfd", fdname="null"), {"return": {}})
                    vm.shutdown()
                    self.assertEqual((vm.exitcode(), vm.get_log()), (0, ""))
                self.assertEqual(os.listdir(folder), [])

    def test_descriptors_are_added_under_their_numbers(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary), open(os.devnull, "rb") as file:
                vm = QEMUMachine(binary, ARGUMENTS).add_fd(file.fileno(), 3, "null")
                with vm:
                    vm.launch()
                    sets = vm.cmd("query-fdsets")
                    self.assertEqual([it["fdset-id"] for it in sets], [3])
                    self.assertEqual(sets[0]["fds"][0]["opaque"], "null")

    def test_qemu_connects_to_a_machine_that_listens(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary), scratch() as folder:
                path = os.path.join(folder, "a,b")
                with QEMUMachine(binary, ARGUMENTS, monitor_address=path) as vm:
                    vm.launch()
                    self.assertEqual(vm.cmd("query-status")["running"], False)
                self.assertEqual(os.listdir(folder), [])

    def test_a_bad_option_fails_the_launch(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary):
                vm = QEMUMachine(binary, ["-bogus"])
                with self.assertRaises(VMLaunchFailure) as caught:
                    vm.launch()
                self.assertEqual(caught.exception.exitcode, 1)
                self.assertIn("-bogus: invalid option", caught.exception.output or "")
                self.assertIn("EOFError", str(caught.exception))

    def test_a_console_of_a_guest_is_drained(self) -> None:
        for binary in LAUNCHERS:
            with self.subTest(binary):
                vm = QEMUMachine(binary, ["-nodefaults", "-accel", "tcg"], drain_console=True)
                # The firmware reports its start on this device.
                vm.args.extend(["-global", "isa-debugcon.iobase=0x402"])
                vm.set_machine("pc")
                vm.set_console(device_type="isa-debugcon")
                with vm:
                    vm.launch()
                    vm.console_socket.settimeout(30)
                    self.assertTrue(vm.console_socket.recv(64).strip())
                self.assertEqual(vm.exitcode(), 0)

    def test_a_killed_or_stopped_qemu_is_reported(self) -> None:
        for binary in LAUNCHERS:
            for number in (signal.SIGKILL, signal.SIGSTOP):
                with self.subTest(binary):
                    vm = QEMUMachine(binary, ARGUMENTS)
                    vm.launch()
                    os.kill(vm.get_pid() or 0, number)
                    with self.assertRaises(AbnormalShutdown):
                        vm.shutdown(timeout=0.5)
                    self.assertEqual(vm.exitcode(), -9)


if __name__ == "__main__":
    unittest.main()
