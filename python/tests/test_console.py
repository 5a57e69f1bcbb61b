"""The console of a machine, drained or not, and the channel of qtest."""

import functools
import gc
import os
import resource
import socket
import threading
import time
import unittest
from typing import Any, Tuple
from unittest import mock

from tests.machines import MachineTest, machine, qtest_machine
from tests.scripted import Test, calling, descriptors, scratch, to_path

from qemu.machine import QEMUQtestProtocol
from qemu.machine.console_socket import ConsoleSocket
from qemu.machine.machine import QEMUMachineError


def pair(**options: Any) -> Tuple[ConsoleSocket, socket.socket]:
    """A console, and the guest's end of it."""
    ours, guest = socket.socketpair()
    with ours:
        return ConsoleSocket(sock_fd=ours.fileno(), **options), guest


class MachinesConsole(MachineTest):
    def test_a_console_is_read_and_written(self) -> None:
        for options in ({}, {"drain_console": True}):
            vm = machine(**options)
            with self.assertRaises(QEMUMachineError):
                vm.console_socket.recv(1)
            vm.set_console()
            for _ in range(2):
                vm.launch()
                console = vm.console_socket
                self.assertIsInstance(console, socket.socket)
                self.assertIs(vm.console_socket, console)
                console.sendall(b"hello\n")
                self.assertEqual(console.recv(1), b"h")
                self.assertEqual(vm.console_file.readline(), b"ello\n")
                self.assertIs(vm.console_file, vm.console_file)
                vm.shutdown()
                self.assertEqual(console.fileno(), -1)

    def test_a_log_of_the_console_implies_draining(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "log")
            vm = machine(console_log=path)
            vm.set_console()
            vm.launch()
            self.assertFalse(os.path.exists(path))
            vm.console_socket.sendall(b"logged")
            self.assertEqual(vm.console_socket.recv(6), b"logged")
            vm.shutdown()
            with open(path, "rb") as file:
                self.assertEqual(file.read(), b"logged")

    def test_an_alarm_ends_a_read_and_the_console_goes_on(self) -> None:
        # Without draining, the read is Python's own.
        vm = machine(drain_console=True)
        vm.set_console()
        vm.launch()
        self.interrupted(functools.partial(vm.console_socket.recv, 1), lambda: None)
        vm.console_socket.sendall(b"x")
        self.assertEqual(vm.console_socket.recv(1), b"x")
        vm.shutdown()


class Drained(Test):
    def test_a_negative_size_is_refused_as_by_a_socket(self) -> None:
        for drain in (False, True):
            console, guest = pair(drain=drain)
            with console, guest:
                guest.sendall(b"data")
                for read in (
                    lambda: console.recv(-1),
                    lambda: console.recv_into(bytearray(4), -1),
                ):
                    with self.assertRaisesRegex(ValueError, "^negative buffersize in recv"):
                        read()
                self.assertEqual(console.recv(4), b"data")

    def test_d17_draining_is_fast_and_needs_one_byte_for_each(self) -> None:
        console, guest = pair(drain=True)
        amount = 32 * 1024 * 1024

        def write() -> None:
            for _ in range(amount // 65536):
                guest.sendall(bytes(65536))

        with console, guest:
            start = time.monotonic()
            writer = threading.Thread(target=write)
            writer.start()
            self.assertEqual(len(console.recv(amount)), amount)
            writer.join()
            # There it takes 180 s. The limit is 9 MB/s.
            self.assertLess(time.monotonic() - start, amount / 9e6)

    def test_what_nobody_reads_is_bounded_and_the_newest_stays(self) -> None:
        from qemu.machine import _console_drain

        unread = _console_drain.Unread()
        with mock.patch.object(_console_drain, "MAX_UNREAD", 10):
            for data in (b"0123456", b"789ab"):
                unread.add(data)
        self.assertEqual(unread.take(99), b"23456789ab")

    def test_d18_a_byte_wakes_its_reader_and_closing_does_not_wait(self) -> None:
        console, guest = pair(drain=True)
        with guest:
            start = time.monotonic()
            for _ in range(20):
                timer = threading.Timer(0.005, guest.sendall, (b"x",))
                timer.start()
                self.assertEqual(console.recv(1), b"x")
                timer.join()
            for _ in range(20):
                idle, other = pair(drain=True)
                with other:
                    idle.close()
            console.close()
            # There it is 10 s, and 20 s.
            self.assertLess(time.monotonic() - start, 5)

    def test_d19_the_end_is_an_end_and_costs_nothing(self) -> None:
        console, guest = pair(drain=True)
        with console:
            guest.sendall(b"last")
            guest.close()
            self.assertEqual(console.recv(100), b"last")
            self.assertEqual([console.recv(1), console.recv(1)], [b"", b""])
            thread = console._drain.thread if console._drain else None
            assert thread is not None
            thread.join()

    def test_d20_the_end_ends_a_search_byte_by_byte(self) -> None:
        console, guest = pair(drain=True)
        with console:
            guest.sendall(b"no prompt\n" * 1000)
            guest.close()
            read = bytearray()
            while b"login: " not in read:
                byte = console.recv(1)
                if not byte:
                    break
                read += byte
            self.assertEqual(len(read), 10000)

    def test_a_closed_console_has_nothing_to_read(self) -> None:
        console, guest = pair(drain=True)
        with guest:
            guest.sendall(b"abc")
            self.assertEqual(console.recv(1), b"a")
            console.close()
            with self.assertRaises(OSError):
                console.recv(1)

    def test_reads_wait_for_all_bytes_or_for_the_limit(self) -> None:
        console, guest = pair(drain=True)
        with console, guest:
            self.assertEqual(console.gettimeout(), 300)
            console.settimeout(0.05)
            console.setblocking(False)
            guest.sendall(b"abc")
            with self.assertRaises(socket.timeout):
                console.recv(4)
            guest.sendall(b"d")
            console.settimeout(10)
            self.assertEqual(console.recv(4), b"abcd")
            with self.assertRaises(AssertionError):
                console.recv(1, socket.MSG_PEEK)

    def test_closing_may_be_repeated_or_forgotten(self) -> None:
        with scratch() as folder:
            before = descriptors()
            for _ in range(3):
                console, guest = pair(drain=True, file=os.path.join(folder, "log"))
                with guest:
                    self.assertIn("logfile=", repr(console))
                    console.close()
                    console.close()
            console, guest = pair(drain=True)
            guest.close()
            # The socket itself warns of a forgotten close, as all sockets do.
            with self.assertWarns(ResourceWarning):
                del console
                gc.collect()
            self.assertEqual(len(descriptors()), len(before))

    def test_a_full_disk_does_not_stop_the_console(self) -> None:
        console, guest = pair(drain=True, file="/dev/full")
        with console, guest:
            guest.sendall(b"ab")
            self.assertEqual(console.recv(2), b"ab")

    def test_an_idle_console_uses_no_cpu(self) -> None:
        console, guest = pair(drain=True)
        console.settimeout(1)
        with console, guest:
            before = resource.getrusage(resource.RUSAGE_SELF)
            with self.assertRaises(socket.timeout):
                console.recv(1)
            after = resource.getrusage(resource.RUSAGE_SELF)
            self.assertLess(after.ru_utime - before.ru_utime, 0.2)


class Plain(Test):
    def test_everything_passes_through(self) -> None:
        console, guest = pair()
        with console, guest:
            self.assertIsNone(console.gettimeout())
            guest.sendall(b"abc")
            self.assertEqual(console.recv(), b"a")
            self.assertEqual(console.recv(10, socket.MSG_PEEK), b"bc")
            self.assertEqual(console.recv(10), b"bc")
            console.setblocking(False)
            with self.assertRaises(BlockingIOError):
                console.recv(1)
            console.settimeout(0.01)
            with self.assertRaises(socket.timeout):
                console.recv(1)

    def test_it_connects_to_a_path(self) -> None:
        with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "s")
            server.bind(path)
            server.listen(1)
            with ConsoleSocket(path) as console, server.accept()[0] as guest:
                guest.sendall(b"x")
                self.assertEqual(console.recv(1), b"x")
            with self.assertRaises(FileNotFoundError):
                ConsoleSocket(path + "none")

    def test_exactly_one_source_is_given(self) -> None:
        for options in ({}, {"address": "/s", "sock_fd": 1}):
            with self.assertRaises(ValueError):
                ConsoleSocket(**options)


class Qtest(MachineTest):
    def test_a_command_is_one_line_each_way(self) -> None:
        vm = qtest_machine()
        self.assertEqual(vm._name, f"qemu-{os.getpid()}")
        with self.assertRaises(RuntimeError):
            vm.qtest("clock_step")
        for _ in range(2):
            vm.launch()
            self.assertEqual(vm.qtest("clock_step 5"), "OK clock_step 5\n")
            self.assertEqual(vm.qtest("clock_step"), "OK clock_step\n")
            vm.shutdown()
            with self.assertRaises(RuntimeError):
                vm.qtest("clock_step")

    def test_the_end_of_qemu_is_an_error(self) -> None:
        ours, theirs = socket.socketpair()
        protocol = QEMUQtestProtocol(sock=ours)
        protocol.connect()
        theirs.sendall(b"O")
        theirs.shutdown(socket.SHUT_WR)
        with self.assertRaises(EOFError):
            protocol.cmd("clock_step")
        protocol.close()
        protocol.close()
        theirs.close()

    def test_it_listens_at_once(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            protocol = QEMUQtestProtocol(path, server=True)
            with calling(lambda peer: peer.send_raw(b"OK\nrest"), lambda: to_path(path)):
                protocol.accept()
                self.assertEqual(protocol.cmd("a"), "OK\n")
                protocol.settimeout(0.01)
                with self.assertRaises(socket.timeout):
                    protocol.cmd("b")
                protocol.close()

    def test_wrong_arguments_are_refused(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for options in ({}, {"address": "/s", "sock": ours}, {"sock": ours, "server": True}):
                with self.assertRaises(ValueError):
                    QEMUQtestProtocol(**options)


if __name__ == "__main__":
    unittest.main()
