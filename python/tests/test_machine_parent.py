"""D1: neither QEMU nor its folder outlives the program that launched it."""

import os
import signal
import subprocess
from typing import Any, Dict, List

from tests.machines import MachineTest, child_code, run_child, wait_for_end
from tests.scripted import descriptors

LAUNCH = """
BASE[0] = {base!r}
vm = qtest_machine()
vm.set_console()
vm._drain_console = True
vm.launch()
vm.console_socket
print(vm.get_pid(), flush=True)
"""

#: The kernel ends the program between the start of QEMU and the message to the guardian.
KILLED_AT_THE_START = """
from qemu.machine._guardian import GUARDIAN
BASE[0] = {base!r}
vm = {kind}
{before}
def die(*args):
    {last}
    os.kill(os.getpid(), signal.SIGKILL)
GUARDIAN.guard_process = die
vm.launch()
"""

#: QEMU closes a channel whose other end is closed.
UNTIL_THE_CONSOLE_IS_CLOSED = """
    theirs = os.fstat(vm._cons_sock_pair[1].fileno()).st_ino
    vm._cons_sock_pair[0].shutdown(2)
    import subprocess
    listing = ['ls', '-l', f'/proc/{args[0]}/fd']
    while str(theirs) in subprocess.run(listing, capture_output=True, text=True).stdout:
        pass
"""

#: Python warns of every fork of a process with threads, from 3.12 on.
QUIET = "import warnings; warnings.filterwarnings('ignore', 'This process', DeprecationWarning)\n"


class Parents(MachineTest):
    def setUp(self) -> None:
        super().setUp()
        from tests import machines

        self.launch = LAUNCH.format(base=machines.BASE[0])

    def gone(self, pid: int) -> None:
        """Wait for the end of QEMU, and of its folder."""
        from tests import machines

        wait_for_end(pid)
        # Nothing notifies of it: the guardian is nobody's child.
        while os.listdir(machines.BASE[0]):
            pass

    def test_d1_the_end_of_the_program_is_the_end_of_qemu(self) -> None:
        ends: Dict[str, str] = {
            "its last line": "",
            "an exception": "raise SystemExit(3)",
            "os._exit": "os._exit(0)",
            "sys.exit in a thread": "threading.Thread(target=sys.exit).start()",
            "a daemon thread that waits for the end": (
                "threading.Thread(target=vm._popen.wait, daemon=True).start()"
            ),
            "another program": "os.execv('/bin/true', ['true'])",
            "a crash": "os.kill(os.getpid(), signal.SIGSEGV)",
            "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
            "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
        }
        for name, end in ends.items():
            with self.subTest(name):
                found = run_child(self.launch + end).stdout
                # One line: no byte of ours besides.
                self.assertEqual(found, f"{int(found)}\n")
                self.gone(int(found))

    def test_d1_a_machine_of_a_thread_outlives_the_thread(self) -> None:
        text = (
            f"thread = threading.Thread(target=exec, args=({self.launch!r}, globals()))\n"
            "thread.start(); thread.join()\n"
            "print(vm.cmd('fake-echo', a=1)); vm.shutdown(); print(vm.exitcode())\n"
        )
        self.assertEqual(run_child(text).stdout.splitlines()[1:], ["{'a': 1}", "0"])

    def test_d1_a_forked_child_neither_ends_nor_keeps_the_machine(self) -> None:
        text = self.launch + QUIET + (
            "read, write = os.pipe()\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    vm2 = machine(); vm2.launch(); vm2.shutdown()\n"
            "    os.write(write, b'x'); signal.pause()\n"
            "os.read(read, 1)\n"
            "print(vm.cmd('fake-echo', a=1), pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        command = child_code(text)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            qemu = int(process.stdout.readline())
            reply, forked = process.stdout.readline().rsplit(" ", 1)
            self.assertEqual(reply, "{'a': 1}")
            process.wait()
            self.gone(qemu)
            os.kill(int(forked), signal.SIGKILL)

    def test_a_forked_child_cannot_end_the_machine(self) -> None:
        ends = (
            "sys.exit(0)",
            "vm.shutdown()",
            "vm.kill()",
            "vm.wait(); vm._monitor_address = None; vm.launch(); vm.shutdown()",
            "vm._post_shutdown(); assert vm.exitcode() is None",
            "vm._popen.terminate(); vm._popen.send_signal(9); assert vm.is_running()",
            "vm.console_socket.close()",
        )
        path = os.path.join(self.base(), "s")
        text = QUIET + (
            f"BASE[0] = {self.base()!r}\n"
            f"vm = qtest_machine(); vm._monitor_address = {path!r}\n"
            "vm.set_console(); vm._drain_console = True\n"
            "with vm:\n"
            "    vm.launch(); vm.console_socket\n"
            f"    for end in {ends!r}:\n"
            "        child = os.fork()\n"
            "        if child == 0:\n"
            "            exec(end)\n"
            "            sys.exit(0)\n"
            "        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
            "        vm.console_socket.sendall(b'x')\n"
            "        assert vm.console_socket.recv(1) == b'x'\n"
            "        assert vm.cmd('fake-echo', a=1) == {'a': 1}\n"
            "        found = os.path.exists(vm._qemu_log_path)\n"
            f"        print(code, found, os.path.exists({path!r}))\n"
            "print(vm.exitcode())\n"
        )
        found = run_child(text).stdout.splitlines()
        self.assertEqual(found, ["0 True True"] * len(ends) + ["0"])

    def test_d1_workers_of_multiprocessing_have_machines_of_their_own(self) -> None:
        text = self.launch + QUIET + (
            "import multiprocessing\n"
            "from tests.machines import fake_exit_codes\n"
            "for method in ('fork', 'spawn'):\n"
            "    with multiprocessing.get_context(method).Pool(2) as pool:\n"
            "        print(pool.map(fake_exit_codes, [BASE[0]] * 2))\n"
            "print(vm.cmd('fake-echo', a=1))\n"
        )
        first, *rest = run_child(text).stdout.splitlines()
        self.assertEqual(rest, ["[0, 0]", "[0, 0]", "{'a': 1}"])
        self.gone(int(first))

    def ends_with_its_program(self, text: str, **options: Any) -> None:
        """Run a program, and wait for the end of all that has its descriptors."""
        read, write = os.pipe()
        with open(read, "rb") as file:
            with open(write, "wb"):
                child = subprocess.Popen(child_code(text), pass_fds=(write,), **options)
            with child:
                self.assertEqual(child.wait(), -signal.SIGKILL)
                # QEMU inherits the descriptor, and the guardian must not.
                self.assertEqual(file.read(), b"")

    def killed_at_the_start(self, kind: str, before: str = "", last: str = "pass") -> str:
        base = self.base()
        return KILLED_AT_THE_START.format(base=base, kind=kind, before=before, last=last)

    @staticmethod
    def base() -> str:
        from tests import machines

        return machines.BASE[0]

    def test_d1_qemu_ends_with_a_program_that_is_killed_while_it_starts_it(self) -> None:
        silent = "vm.set_qmp_monitor(enabled=False)"
        wrapper = "vm._wrapper = ['sh', '-c', '\"$@\"; true', 'sh', *WRAPPER]"
        shown = "vm._pre_launch = lambda: (QEMUMachine._pre_launch(vm), vm._close_qemu_log_file())"
        cases: Dict[str, str] = {
            "first launch": self.killed_at_the_start("machine()"),
            "later launch": self.killed_at_the_start("machine()", "vm.launch(); vm.shutdown()"),
            "qtest": self.killed_at_the_start("qtest_machine()"),
            "no monitor": self.killed_at_the_start("machine()", silent),
            "no monitor but a console": self.killed_at_the_start(
                "machine()", f"{silent}; vm.set_console()"
            ),
            "a console that QEMU has closed": self.killed_at_the_start(
                "machine()", f"{silent}; vm.set_console()", last=UNTIL_THE_CONSOLE_IS_CLOSED
            ),
            "a monitor at a path": self.killed_at_the_start(
                f"machine(monitor_address={self.base() + '/s'!r})",
                # The path is no part of the temporary folder.
                last=f"os.unlink({self.base() + '/s'!r})",
            ),
            "a wrapper that waits for QEMU": self.killed_at_the_start("machine()", wrapper),
            "QEMU's output is shown": self.killed_at_the_start("machine()", shown),
        }
        for name, text in cases.items():
            with self.subTest(name):
                self.ends_with_its_program(text, stdout=subprocess.DEVNULL)
                while os.listdir(self.base()):
                    pass

    def test_d1_a_folder_goes_with_a_program_that_is_killed_when_it_has_made_it(self) -> None:
        for before in ("", "vm = machine(); vm.launch()"):
            text = (
                f"BASE[0] = {self.base()!r}\n{before}\n"
                "make = os.mkdir\n"
                "os.mkdir = lambda *args: (make(*args), os.kill(os.getpid(), signal.SIGKILL))\n"
                "machine().temp_dir\n"
            )
            self.ends_with_its_program(text)
            while os.listdir(self.base()):
                pass

    def test_d1_a_fork_of_a_killed_program_lives_on(self) -> None:
        # It has both ends of QEMU's monitor.
        last = "os.fork() or (input(), print('alive', flush=True), os._exit(0))"
        text = QUIET + self.killed_at_the_start("machine()", last=last)
        with subprocess.Popen(
            child_code(text), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.wait()
            # The guardian removes the folder last.
            while os.listdir(self.base()):
                pass
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "alive\n")

    def test_a_fork_finds_the_files_of_its_parent(self) -> None:
        text = self.launch + (
            "child = os.fork()\n"
            "if child: os.waitpid(child, 0)\n"
            "print(vm.temp_dir, flush=True)\n"
            "if child == 0: os._exit(0)\n"
            "print(os.listdir(vm.temp_dir) == [vm._name + '.log'])\n"
            "vm.shutdown(); print(os.path.exists(vm._base_temp_dir))\n"
        )
        found = run_child(text).stdout.splitlines()[1:]
        self.assertEqual(found, [found[0], found[0], "True", "True"])

    def test_a_folder_that_cannot_be_made_is_not_guarded(self) -> None:
        from qemu.machine._guardian import GUARDIAN

        from tests.machines import machine

        already = list(GUARDIAN._items)
        with self.assertRaises(FileNotFoundError):
            machine(base_temp_dir="/nonexistent").temp_dir
        self.assertEqual(list(GUARDIAN._items), already)

    def test_a_program_meets_no_child_but_its_own(self) -> None:
        for work in ("vm.temp_dir", "vm.launch(); vm.shutdown()", "vm._wrapper = ['/nonexistent']"):
            text = (
                f"BASE[0] = {self.base()!r}; vm = machine(); {work}\n"
                "with contextlib.suppress(VMLaunchFailure): vm.launch()\n"
                "vm.shutdown()\n"
                "try: print(os.wait())\n"
                "except ChildProcessError: print('none')\n"
            )
            imports = "import contextlib\nfrom qemu.machine.machine import VMLaunchFailure\n"
            self.assertEqual(run_child(imports + text).stdout, "none\n")

    def test_process_1_has_no_child_but_its_own(self) -> None:
        text = (
            f"BASE[0] = {self.base()!r}; vm = machine(); vm.launch(); vm.shutdown()\n"
            "print(os.getpid())\n"
            "try: print(os.wait())\n"
            "except ChildProcessError: print('none')\n"
        )
        unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
        try:
            subprocess.run([*unshare, "true"], check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("no namespaces of processes")
        command = [*unshare, *child_code(text)]
        self.assertEqual(subprocess.check_output(command, text=True), "1\nnone\n")

    def test_a_guardian_that_was_killed_is_replaced(self) -> None:
        text = self.launch + (
            "from qemu.machine._guardian import GUARDIAN\n"
            "os.set_blocking(GUARDIAN._pipe, True)\n"
            "read, write = os.pipe()\n"
            "os.dup2(write, GUARDIAN._pipe); os.close(read); os.close(write)\n"
            # The guardian takes that for our end. It must not meet the second machine.
            "os.waitid(os.P_PID, vm.get_pid(), os.WEXITED | os.WNOWAIT)\n"
            "vm2 = machine(); vm2.launch(); print(vm2.get_pid(), flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        first, second = map(int, run_child(text).stdout.split())
        self.gone(second)
        wait_for_end(first)

    def test_the_list_has_no_half_line_and_does_not_grow(self) -> None:
        from qemu.machine._guardian import Guardian

        guardian = Guardian()
        self.addCleanup(guardian.forget)
        folders = ["/" + letter * length for letter in "ab" for length in (60, 200, 3900)]
        for _ in range(3):
            items = [guardian.guard_folder(path) for path in folders]
            self.assertIsNotNone(guardian._list)
            places = guardian._items.values()
            self.assertEqual({at // 4096 - (at + size - 1) // 4096 for at, size in places}, {0})
            assert guardian._list is not None
            lines = os.pread(guardian._list, 1 << 20, 0).split()
            self.assertEqual(sorted(lines), sorted(f"d{path}".encode() for path in folders))
            for item in items:
                guardian.release(item)
            left = os.pread(guardian._list, 1 << 20, 0)
            self.assertEqual((left.split(), len(left) <= 4 * 4096), ([], True))
        guardian.settle()

    def test_machines_that_have_ended_are_forgotten(self) -> None:
        from qemu.machine._guardian import GUARDIAN

        from tests.machines import machine

        before = descriptors()
        already = len(GUARDIAN._items)
        sizes: List[int] = []
        for _ in range(3):
            vm = machine()
            vm.launch()
            sizes.append(len(GUARDIAN._items) - already)
            vm.shutdown()
            sizes.append(len(GUARDIAN._items) - already)
        self.assertEqual(sizes, [1, 0] * 3)
        self.assertEqual(len(descriptors()), len(before))
