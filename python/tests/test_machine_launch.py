"""The command line of a machine, its descriptors, its log, and launches that fail."""

import asyncio
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, List, Optional
from unittest import mock

from tests.machines import FAKE, WRAPPER, MachineTest, machine, qtest_machine, run_child
from tests.scripted import descriptors, scratch

from qemu.machine import QEMUMachine
from qemu.machine.machine import AbnormalShutdown, QEMUMachineError, VMLaunchFailure
from qemu.qmp import ConnectError, ExecuteError


def without_numbers(command: Any) -> List[str]:
    """A command line whose descriptors are ``N``."""
    return [f"{it.partition('fd=')[0]}fd=N" if ",fd=" in it else it for it in command]


def inherited() -> List[int]:
    """What the caller of the tests lets every child inherit."""
    numbers = [int(it) for it in os.listdir("/proc/self/fd")]
    is_open = "/proc/self/fd/{}".format
    return [
        it for it in numbers if it > 2 and os.path.exists(is_open(it)) and os.get_inheritable(it)
    ]


class CommandLine(MachineTest):
    def test_the_arguments_have_the_order_of_the_contract(self) -> None:
        vm = machine("-S", name="n")
        vm.add_args("-m", "64M")
        vm.add_monitor_null()
        vm.set_machine("none")
        vm.set_console(console_index=2)
        with vm:
            vm.launch()
            expected = "-display none -vga none -chardev socket,id=mon,fd=N -mon".split()
            expected += "chardev=mon,mode=control -machine none -serial null -serial null".split()
            expected += "-chardev socket,id=console,fd=N -serial chardev:console".split()
            expected += "-S -m 64M -monitor null".split()
            found = without_numbers(vm._qemu_full_args)
            self.assertEqual(found, [*WRAPPER, FAKE, *expected])
            self.assertIsInstance(vm._qemu_full_args, tuple)

    def test_a_console_may_be_a_device_and_the_monitor_may_be_off(self) -> None:
        vm = machine()
        vm.set_console(device_type="virtconsole")
        vm.set_qmp_monitor(enabled=False)
        with vm:
            vm.launch()
            expected = "-display none -vga none -chardev socket,id=console,fd=N".split()
            expected += "-device virtconsole,chardev=console".split()
            self.assertEqual(without_numbers(vm._qemu_full_args)[3:], expected)
            with self.assertRaisesRegex(QEMUMachineError, "no connection"):
                vm.cmd("query-status")
            # Now the fake has its handler for SIGTERM.
            vm.console_socket.sendall(b"x")
            self.assertEqual(vm.console_socket.recv(1), b"x")
        self.assertEqual(vm.exitcode(), 0)

    def test_the_channel_of_qtest_comes_after_the_others(self) -> None:
        with qtest_machine("-S") as vm:
            vm.launch()
            expected = "-chardev socket,id=qtest,fd=N -qtest chardev:qtest -accel qtest -S".split()
            self.assertEqual(without_numbers(vm._qemu_full_args)[-7:], expected)

    def test_d7_commas_in_the_path_of_the_monitor_are_escaped(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "a,b=c,,d")
            with machine(monitor_address=path) as vm:
                vm.launch()
                self.assertEqual(vm.cmd("fake-hello"), {})
                self.assertIn(
                    "-chardev socket,id=mon,path=" + path.replace(",", ",,"),
                    " ".join(vm._qemu_full_args),
                )
            self.assertFalse(os.path.exists(path))

    def test_qemu_connects_to_a_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with machine(monitor_address=("127.0.0.1", port)) as vm:
            vm.launch()
            self.assertEqual(vm.cmd("fake-hello"), {})

    def test_arguments_are_copied_and_live(self) -> None:
        given = ["-S"]
        vm = QEMUMachine("qemu", given)
        vm.args.extend(["-m", "1G"])
        vm.args[0] = "-s"
        self.assertEqual((given, vm.args, vm.binary), (["-S"], ["-s", "-m", "1G"], "qemu"))
        self.assertEqual(vm._name, f"{id(vm):x}")

    def test_the_constructor_takes_positions_and_what_qemu_7_2_has(self) -> None:
        vm: Any = QEMUMachine("qemu", ("-S",), ("gdb",), "n", "/b", "/p", False, "/c", "/l", 15)
        names = "_binary _args _wrapper _name _base_temp_dir _monitor_address _drain_console"
        names += " _console_log_path _log_dir _qmp_timer"
        self.assertEqual(
            [getattr(vm, name) for name in names.split()],
            ["qemu", ["-S"], ("gdb",), "n", "/b", "/p", True, "/c", "/l", 15],
        )
        QEMUMachine("qemu", sock_dir="/s")


class Descriptors(MachineTest):
    def test_the_child_has_all_inheritable_descriptors_under_the_same_numbers(self) -> None:
        with open(os.devnull, "rb") as file, open(os.devnull, "rb") as other:
            os.set_inheritable(other.fileno(), True)
            vm = machine()
            self.assertIs(vm.add_fd(file.fileno(), 2, "opaque", "x=y"), vm)
            value = f"fd={file.fileno()},set=2,opaque=opaque,x=y"
            self.assertEqual(vm.args, ["-add-fd", value])
            with vm:
                vm.launch()
                number = [it for it in vm._qemu_full_args if "id=mon" in it][0]
                monitor = int(number.rpartition("=")[2])
                expected = {0, 1, 2, monitor, file.fileno(), other.fileno(), *inherited()}
                found = set(vm.cmd("fake-descriptors"))
                self.assertLessEqual(expected, found)
                # By the other one, the guardian finds it.
                self.assertEqual(len(found - expected), 1)

    def test_d2_two_launches_at_a_time_share_no_descriptor(self) -> None:
        vms = [machine(), machine()]
        count: List[int] = []

        def launch(vm: Any) -> None:
            vm.launch()
            count.append(len(vm.cmd("fake-descriptors")))

        for _ in range(3):
            threads = [threading.Thread(target=launch, args=(vm,)) for vm in vms]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for vm in vms:
                vm.shutdown()
        # Three streams, the monitor, and what the guardian finds it by.
        self.assertEqual(count, [5 + len(inherited())] * 6)

    def test_d11_a_failed_spawn_leaks_no_descriptor(self) -> None:
        # The collector would close what only they have.
        kept: List[Any] = []
        for _ in range(4):
            vm = QEMUMachine("/nonexistent")
            vm.set_console()
            with self.assertRaises(VMLaunchFailure):
                vm.launch()
            kept.append((vm, len(descriptors())))
        self.assertEqual([count for _, count in kept[1:]], [kept[0][1]] * 3)

    def test_a_descriptor_or_a_file_is_sent(self) -> None:
        with machine() as vm:
            vm.launch()
            with open(os.devnull, "rb") as file:
                self.assertEqual(vm.send_fd_scm(fd=file.fileno()), 0)
            self.assertEqual(vm.send_fd_scm(file_path=os.devnull), 0)
            for wrong in ({}, {"fd": 1, "file_path": "/"}):
                with self.assertRaises(AssertionError):
                    vm.send_fd_scm(**wrong)

    def test_the_child_has_our_environment_group_and_signal_mask(self) -> None:
        os.environ["FAKE_VARIABLE"] = "now"
        self.addCleanup(os.environ.pop, "FAKE_VARIABLE")
        with machine() as vm:
            vm.launch()
            self.assertEqual(vm.cmd("fake-environment")["FAKE_VARIABLE"], "now")
            self.assertEqual(os.getpgid(vm.get_pid()), os.getpgid(0))
            self.assertEqual(os.getsid(vm.get_pid()), os.getsid(0))
            status = vm.cmd("fake-status")
            self.assertEqual(int(status["SigBlk"], 16), 0)
            self.assertEqual(int(status["PPid"]), os.getpid())


class Log(MachineTest):
    def test_the_log_is_what_qemu_printed_from_its_end_to_the_next_launch(self) -> None:
        vm = machine()
        self.assertIsNone(vm.get_log())
        for text in ("first", "second"):
            vm.launch()
            self.assertIsNone(vm.get_log())
            vm.cmd("fake-print", text=text)
            vm.shutdown()
            self.assertEqual(vm.get_log(), f"{text}\nfake: terminating\n")

    def test_d9_what_is_no_text_breaks_nothing(self) -> None:
        vm = machine("fake-bytes")
        for _ in range(2):
            vm.launch()
            vm.shutdown()
            self.assertEqual(vm.get_log(), "caf\\xe9\nnext\nfake: terminating\n")

    def test_a_log_in_a_folder_of_its_own_stays(self) -> None:
        with scratch() as folder, machine(log_dir=folder, name="n") as vm:
            self.assertEqual(vm.log_dir, folder)
            vm.launch()
            vm.shutdown()
            with open(os.path.join(folder, "n.log"), encoding="utf-8") as file:
                self.assertEqual(file.read(), vm.get_log())

    def test_the_temporary_folder_is_made_when_it_is_read(self) -> None:
        vm = machine()
        folder = vm.temp_dir
        self.assertTrue(os.path.basename(folder).startswith("qemu-machine-"))
        self.assertEqual((vm.temp_dir, vm.log_dir), (folder, folder))
        vm.launch()
        self.assertEqual(vm._temp_dir, folder)
        vm.shutdown()
        self.assertFalse(os.path.exists(folder))
        self.assertNotEqual(vm.temp_dir, folder)
        os.rmdir(vm.temp_dir)

    def test_a_log_has_a_name_when_somebody_looks_for_it(self) -> None:
        for name in ("temp_dir", "log_dir", "_temp_dir", "_qemu_log_path"):
            with scratch() as base:
                with machine(base_temp_dir=base, name="n") as vm:
                    vm.launch()
                    vm.cmd("fake-print", text="one")
                    self.assertEqual(os.listdir(base), [])
                    found = getattr(vm, name)
                    vm.cmd("fake-print", text="two")
                    (folder,) = (os.path.join(base, it) for it in os.listdir(base))
                    path = os.path.join(folder, "n.log")
                    self.assertEqual(found, path if name == "_qemu_log_path" else folder)
                    with open(path, encoding="utf-8") as file:
                        self.assertEqual(file.read(), "one\ntwo\n")
                self.assertEqual(vm.get_log(), "one\ntwo\nfake: terminating\n")
                self.assertEqual(os.listdir(base), [])

    def test_a_log_that_is_closed_while_qemu_runs_is_read_at_the_end(self) -> None:
        with machine() as vm:
            vm.launch()
            vm._close_qemu_log_file()
            vm.cmd("fake-print", text="later")
        self.assertEqual(vm.get_log(), "later\nfake: terminating\n")

    def test_a_file_system_without_unnamed_files_has_the_log_at_once(self) -> None:
        with scratch() as base:
            # A kernel that does not know the flag sees a folder that is to be written.
            with mock.patch("os.O_TMPFILE", os.O_DIRECTORY):
                with machine(base_temp_dir=base, name="n") as vm:
                    vm.launch()
                    (folder,) = os.listdir(base)
                    self.assertEqual(os.listdir(os.path.join(base, folder)), ["n.log"])
            self.assertEqual(vm.get_log(), "fake: terminating\n")
            self.assertEqual(os.listdir(base), [])

    def test_qemu_inherits_the_output_if_the_log_is_closed_before_its_start(self) -> None:
        class Shown(QEMUMachine):
            def _pre_launch(self) -> None:
                super()._pre_launch()
                self._close_qemu_log_file()
                assert self._qemu_log_file is None

        read, write = os.pipe()
        saved = os.dup(1)
        sys.stdout.flush()
        os.dup2(write, 1)
        try:
            with machine(kind=Shown) as vm:
                vm.launch()
                vm.cmd("fake-print", text="shown")
        finally:
            os.dup2(saved, 1)
            for number in (saved, write):
                os.close(number)
        with open(read, encoding="utf-8") as file:
            self.assertEqual(file.read(), "shown\nfake: terminating\n")
        self.assertEqual(vm.get_log(), "")

    def test_our_standard_streams_may_be_closed(self) -> None:
        with scratch() as folder:
            found = os.path.join(folder, "found")
            run_child(
                f"BASE[0] = {folder!r}\n"
                "for number in range(3): os.close(number)\n"
                "with qtest_machine() as vm:\n"
                "    vm.set_console()\n"
                "    vm.launch()\n"
                "    answers = vm.cmd('fake-echo', a=1), vm.qtest('endianness')\n"
                f"    with open({found!r}, 'w') as file: print(*answers, file=file)\n"
            )
            with open(found, encoding="utf-8") as file:
                self.assertEqual(file.read(), "{'a': 1} OK endianness\n\n")


class FailedLaunch(MachineTest):
    def failure(self, vm: Any) -> VMLaunchFailure:
        with self.assertRaises(VMLaunchFailure) as caught:
            vm.launch()
        self.assertFalse(vm.is_running())
        self.assertIsNone(vm.get_pid())
        vm.shutdown()
        return caught.exception

    def test_qemu_exits_at_once(self) -> None:
        vm = machine("fake-exit=3")
        err = self.failure(vm)
        command = " ".join(vm._qemu_full_args)
        self.assertEqual(err.args, (3, command, "fake: cannot start\n"))
        self.assertEqual(
            str(err),
            "ConnectError: Failed to establish session: EOFError\n\tExit code: 3\n"
            f"\tCommand: {command}\n\tOutput: fake: cannot start\n\n",
        )
        cause = err.__cause__
        assert isinstance(cause, ConnectError)
        self.assertIsInstance(cause.exc, (EOFError, ConnectionResetError))
        self.assertEqual((vm.exitcode(), vm.get_log()), (3, "fake: cannot start\n"))
        copy = pickle.loads(pickle.dumps(err))
        self.assertEqual((copy.exitcode, copy.command, copy.output), err.args)

    def test_a_qemu_that_closes_its_monitor_has_30_seconds_to_exit(self) -> None:
        class Waiting(QEMUMachine):
            def wait(self, timeout: Optional[float] = 30) -> None:
                limits.append(timeout)
                super().wait(timeout)

        limits: List[Optional[float]] = []
        self.failure(machine("fake-exit=3", kind=Waiting))
        self.assertEqual(limits, [30])

    def test_there_is_no_such_program_also_after_one_that_was(self) -> None:
        vm = machine()
        vm.launch()
        vm.shutdown()
        vm._wrapper = ["/nonexistent"]
        err = self.failure(vm)
        self.assertIsNone(err.exitcode)
        self.assertIsNone(vm.exitcode())
        self.assertIsInstance(err.__cause__, FileNotFoundError)
        begin = "FileNotFoundError: [Errno 2] No such file or directory: '/nonexistent'\n\tComm"
        self.assertTrue(str(err).startswith(begin), str(err))
        self.assertTrue(str(err).endswith("\tOutput: \n"), str(err))

    def test_d3_a_qemu_that_never_greets_is_killed_at_the_limit(self) -> None:
        with scratch() as folder:
            for address in (None, os.path.join(folder, "s")):
                vm = machine("fake-mute", qmp_timer=0.2, monitor_address=address)
                with self.assertLogs("qemu.machine", logging.DEBUG) as logged:
                    err = self.failure(vm)
                # That it was killed is no warning.
                self.assertEqual({it.levelno for it in logged.records}, {logging.DEBUG})
                self.assertIsInstance(err.__cause__, asyncio.TimeoutError)
                self.assertEqual(vm.exitcode(), -signal.SIGKILL)

    def test_a_slow_greeting_before_the_limit_is_in_time(self) -> None:
        class Slow(QEMUMachine):
            def _post_launch(self) -> None:
                is_waiting.set()
                super()._post_launch()

        def let_greet() -> None:
            is_waiting.wait()
            with open(fifo, "wb"):
                pass

        with scratch() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            for address in (None, os.path.join(folder, "s")):
                is_waiting = threading.Event()
                thread = threading.Thread(target=let_greet)
                thread.start()
                word = f"fake-greet-after={fifo}"
                with machine(word, kind=Slow, monitor_address=address, qmp_timer=40) as vm:
                    vm.launch()
                    self.assertEqual(vm.cmd("fake-hello"), {})
                thread.join()

    def test_d7_the_end_of_qemu_ends_the_wait_for_its_connection(self) -> None:
        with scratch() as folder:
            path = os.path.join(folder, "s")
            err = self.failure(machine("fake-exit=3", monitor_address=path, qmp_timer=None))
            self.assertEqual(err.exitcode, 3)
            self.assertIsInstance(err.__cause__, ConnectError)
            self.assertFalse(os.path.exists(path))

    def test_d8_a_qemu_that_lives_is_killed_at_once_and_the_error_is_its_own(self) -> None:
        start = time.monotonic()
        err = self.failure(machine("fake-odd-greeting"))
        self.assertLess(time.monotonic() - start, 20)
        self.assertIsInstance(err.__cause__, ConnectError)
        self.assertIn("Did not understand Greeting", str(err))

    def test_listening_may_fail(self) -> None:
        err = self.failure(machine(monitor_address="/nonexistent/s"))
        self.assertIsInstance(err.__cause__, ConnectError)

    def test_a_launch_after_a_failure_or_an_end_is_as_the_first(self) -> None:
        vm = machine("fake-exit=1")
        self.failure(vm)
        vm.args.clear()
        for _ in range(2):
            vm.launch()
            with self.assertRaises(QEMUMachineError):
                vm.launch()
            self.assertIsNone(vm.exitcode())
            vm.shutdown()
            self.assertEqual(vm.exitcode(), 0)

    def test_an_alarm_ends_a_launch_and_its_qemu(self) -> None:
        vm = machine("fake-mute", qmp_timer=None)
        self.interrupted(vm.launch, lambda: self.until_started(vm))
        self.assertEqual(vm.exitcode(), -signal.SIGKILL)

    def test_ctrl_c_ends_a_launch_and_is_not_wrapped(self) -> None:
        vm = machine("fake-mute", qmp_timer=None)

        def press() -> None:
            self.until_started(vm)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            vm.launch()
        thread.join()
        self.assertFalse(vm.is_running())

    @staticmethod
    def until_started(vm: Any) -> None:
        # Nothing notifies of it.
        while not vm._launched:
            time.sleep(0.01)


class Subclasses(MachineTest):
    """Those of QEMU's source tree."""

    def test_hooks_are_called_in_order_and_arguments_may_be_extended(self) -> None:
        calls: List[str] = []

        class Bits(QEMUMachine):
            base_temp_dir = "free"
            debugcon_log = "free"

            def __init__(self, binary: str, args: Any = (), **options: Any) -> None:
                super().__init__(binary, args, **options)
                self.debugcon_addr = "0x403"

            @property
            def _base_args(self) -> List[str]:
                args = super()._base_args
                args.extend(["-chardev", "null,id=debugcon"])
                return args

            def base_args(self) -> List[str]:
                return self._base_args

            def _pre_launch(self) -> None:
                super()._pre_launch()
                calls.append(f"pre {self._popen is None}")

            def _post_launch(self) -> None:
                super()._post_launch()
                calls.append(f"post {self._subp.pid == self.get_pid()}")

            def _post_shutdown(self) -> None:
                super()._post_shutdown()
                assert self._popen is not None
                calls.append(f"end {self._popen.pid is not None} {self.exitcode()}")

        with machine(kind=Bits) as vm:
            vm.set_console()
            self.assertIn("chardev=mon,mode=control", vm.base_args())
            vm.launch()
            self.assertEqual(vm.base_args().count("null,id=debugcon"), 1)
            self.assertEqual(vm._qemu_full_args[-1], "null,id=debugcon")
        self.assertIn("chardev:console", vm.base_args())
        self.assertEqual(calls, ["pre True", "post True", "end True 0"])

    def test_the_process_looks_like_a_popen(self) -> None:
        with machine() as vm:
            vm.launch()
            popen = vm._popen
            self.assertEqual((popen.pid, popen.returncode), (vm.get_pid(), None))
            self.assertEqual(popen.args, vm._qemu_full_args)
            self.assertIsNone(popen.poll())
            with self.assertRaises(subprocess.TimeoutExpired):
                popen.wait(timeout=0.01)
            popen.terminate()
            self.assertEqual(popen.wait(), 0)
            with self.assertRaises(AbnormalShutdown):
                vm.shutdown()
            self.assertEqual((popen.poll(), popen.returncode), (0, 0))

    def test_a_signal_s_handler_may_ask_while_the_program_asks(self) -> None:
        asked: List[bool] = []
        with machine() as vm:
            vm.launch()
            before = signal.signal(signal.SIGALRM, lambda *_: asked.append(vm.is_running()))
            try:
                # One signal at a time: on a busy host they would nest.
                for number in range(500):
                    signal.setitimer(signal.ITIMER_REAL, 0.0001)
                    while len(asked) == number:
                        self.assertTrue(vm.is_running())
            finally:
                signal.signal(signal.SIGALRM, before)
        self.assertEqual(set(asked), {True})

    def test_the_command_line_is_logged(self) -> None:
        with self.assertLogs("qemu.machine", logging.DEBUG) as logged, machine() as vm:
            vm.launch()
        command = " ".join(vm._qemu_full_args)
        self.assertIn(
            f"VM launch command: {command!r}", [it.getMessage() for it in logged.records]
        )
        self.assertEqual({it.name for it in logged.records}, {"qemu.machine.machine"})


class Commands(MachineTest):
    def test_arguments_take_all_forms(self) -> None:
        with machine() as vm:
            vm.launch()
            forms = [
                vm.cmd("fake-echo", node_name="a", read_only=True),
                vm.cmd("fake-echo", **{"node-name": "a", "read-only": True}),
                vm.cmd("fake-echo", {"node-name": "a", "read-only": True}),
                vm.qmp("fake-echo", node_name="a", read_only=True)["return"],
                vm.command("fake-echo", args_dict={"node-name": "a", "read-only": True}),
            ]
            self.assertEqual(forms, [{"node-name": "a", "read-only": True}] * 5)
            self.assertEqual(
                vm.qmp("fake-echo", conv_keys=False, a_b={"c_d": 1}),
                {"return": {"a_b": {"c_d": 1}}},
            )
            self.assertEqual(vm.qmp("fake-echo", a_b={"c_d": 1}), {"return": {"a-b": {"c_d": 1}}})
            for wrong in ({"a": 1}, {"conv_keys": True}):
                with self.assertRaises(AssertionError):
                    vm.qmp("fake-echo", {"b": 1}, **wrong)

    def test_d13_arguments_may_have_every_name_of_a_parameter(self) -> None:
        with machine() as vm:
            vm.launch()
            names = {"cmd": 1, "self": 2, "name": 3, "args": 4}
            self.assertEqual(vm.cmd("fake-echo", **names), names)
            self.assertEqual(vm.qmp("fake-echo", **names)["return"], names)
            # Those of the dict's own parameters only in the dict.
            names = {"args_dict": 1, "conv_keys": 2, **names}
            self.assertEqual(vm.cmd("fake-echo", names), names)
            self.assertEqual(vm.qmp("fake-echo", args_dict=names)["return"], names)
            self.assertEqual(vm.qmp(cmd="fake-echo", a=1), {"return": {"a": 1}})
            self.assertEqual(vm.cmd(cmd="fake-echo", a=1), {"a": 1})

    def test_an_error_is_a_reply_or_raised(self) -> None:
        with machine() as vm:
            vm.launch()
            expected = {"error": {"class": "GenericError", "desc": "as asked"}}
            self.assertEqual(vm.qmp("fake-error"), expected)
            with self.assertRaisesRegex(ExecuteError, "^as asked$"):
                vm.cmd("fake-error")
