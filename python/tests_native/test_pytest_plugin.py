"""The plugin of pytest, in real runs of it."""

import os
import signal
import subprocess
import unittest
from importlib.util import find_spec
from pathlib import Path

from pytest_runs import PluginTest
from support import LONG, has_ended


class Plugin(PluginTest):
    def test_machines_end_with_their_scope_and_the_artifacts_of_passed_tests_go(self) -> None:
        ended = self.run_tests("""
pids = []

@pytest.fixture(scope="module")
def shared(qemu_machine_module):
    return qemu_machine_module(firmware=tiny_guest())

def test_one(tiny, shared):
    pids.append(shared.pid)
    for vm in (tiny(name="left"), tiny("-device", "virtio-rng-pci", memory="64M"), shared):
        note(vm)
    assert "virtio-rng-pci" in vm.argv or "64M" in " ".join(tiny(memory="64M").argv)

def test_two(shared, qemu_machine):
    assert shared.pid == pids[0] and shared.is_running
    with open(os.environ["PIDS"]) as file:
        first = int(file.readline())
    assert not os.path.exists(f"/proc/{first}")

class TestClass:
    def test_three(self, qemu_machine_class, qemu_machine_session):
        note(qemu_machine_class("-S"))
        note(qemu_machine_session("-S"))
""")
        self.assertEqual(self.outcomes(ended.stdout), {"passed": 3}, ended.stdout)
        self.assertEqual(len(self.noted()), 5)
        self.assertEqual(list(self.artifacts.glob("**/*.*")), [])

    def test_a_failure_has_sections_and_files(self) -> None:
        ended = self.run_tests("""
def test_fails(tiny):
    vm = tiny("-vga", "std", name="sick")
    note(vm)
    vm.console.send("echo last words\\n")
    vm.console.expect("last words")
    with pytest.raises(CommandError):
        vm.qmp.execute("no-such-command")
    assert vm.is_running == "maybe"

def test_not_launched(qemu_machine):
    qemu_machine("-device", "no-such-device")

def test_passes(tiny):
    pass
""", "--junitxml=junit.xml")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"failed": 2, "passed": 1}, ended.stdout)
        for part in (
            "qemu command line", "-vga std", "console (last 100 lines)", "last words",
            "QMP transcript", "no-such-command", "CommandNotFound", "screenshot.png",
            "no-such-device",
        ):  # fmt: skip
            self.assertIn(part, ended.stdout)
        kept = self.artifacts_of("test_fails") / "sick"
        names = {it.name for it in kept.iterdir()}
        self.assertLessEqual(
            {"console.log", "transcript.jsonl", "sick.log", "command-line.txt",
             "exit-report.txt", "screenshot.png"}, names,
        )  # fmt: skip
        self.assertIn("last words", (kept / "console.log").read_text())
        self.assertTrue((kept / "screenshot.png").read_bytes().startswith(b"\x89PNG"))
        folders = [kept.parent, self.artifacts_of("test_not_launched")]
        self.assertEqual(self.properties(), list(map(str, folders)))

    def test_a_crash_fails_a_test_that_passed_unless_its_mark_allows_it(self) -> None:
        ended = self.run_tests("""
def crash(vm):
    note(vm)
    with vm.events() as events:
        os.kill(vm.pid, signal.SIGABRT)
        for _ in events: pass

def test_crash(tiny):
    crash(tiny())

@pytest.mark.qemu(may_crash=True)
def test_allowed(tiny):
    crash(tiny())

def test_waited_for(tiny):
    vm = tiny()
    crash(vm)
    assert vm.wait().signal == 6

@pytest.mark.qemu("-device", "pvpanic", args=["-action", "panic=pause"])
def test_panic(tiny):
    vm = tiny()
    note(vm)
    with vm.events("GUEST_PANICKED") as events:
        vm.console.send("panic\\n")
        events.wait()
""", "--qemu-artifacts=never")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"failed": 2, "passed": 2}, ended.stdout)
        self.assertIn("exit report", ended.stdout)
        self.assertRegex(ended.stdout, r"GuestCrashed: .*SIGABRT|signal 6")
        self.assertFalse(self.artifacts.exists())

    def test_what_is_missing_skips_with_the_reason_or_fails(self) -> None:
        body = """
@pytest.mark.qemu(binary="qemu-system-none")
def test_binary(qemu_machine): qemu_machine()

@pytest.mark.qemu(machine="no-such-type")
def test_machine(qemu_machine): qemu_machine()

@pytest.mark.qemu(accel=("hvf", "whpx"))
def test_accel(qemu_machine): qemu_machine()
"""
        ended = self.run_tests(body, "-rs")
        self.assertEqual(self.outcomes(ended.stdout), {"skipped": 3}, ended.stdout)
        for reason in ("qemu-system-none is not installed", "no machine type no-such-type", "hvf, whpx"):
            self.assertIn(reason, ended.stdout)
        (self.folder / "pytest.ini").write_text("[pytest]\nqemu_require = true\n")
        ended = self.run_tests(body)
        self.assertEqual(self.outcomes(ended.stdout), {"failed": 3}, ended.stdout)

    def test_keep_waits_for_enter_and_live_prints_the_console(self) -> None:
        ended = self.run_tests("""
def test_fails(tiny):
    note(tiny(name="sick"))
    assert False
""", "--qemu-keep", "--qemu-console=live", typed="\n")  # fmt: skip
        self.assertIn("sick is kept, with process id", ended.stderr)
        self.assertIn("tiny guest ready", ended.stderr)

    def test_the_debugger_has_the_machine_alive(self) -> None:
        ended = self.run_tests("""
def test_fails(tiny):
    vm = tiny()
    note(vm)
    assert False
""", "--pdb", typed="p 'it', vm.qmp.execute('query-status')['status']\nq\n")  # fmt: skip
        self.assertIn("('it', 'running')", ended.stdout, ended.stderr)

    def test_workers_share_templates_and_have_their_own_names(self) -> None:
        ended = self.run_tests("""
def boot(vm):
    with open(os.environ["PIDS"] + ".boots", "a") as file:
        print(vm.pid, file=file)
    vm.console.expect("> ")

@pytest.fixture(scope="session")
def booted(qemu_machine_session):
    return qemu_machine_session.template(boot, firmware=tiny_guest(), memory="16M")

@pytest.mark.parametrize("number", range(4))
def test_clone(qemu_machine, qemu_machine_session, booted, number):
    session = qemu_machine_session.clone(booted)
    vm = qemu_machine.clone(booted)
    note(vm)
    note(session)
    assert os.environ["PYTEST_XDIST_WORKER"] in session.name
    vm.console.send("echo cloned\\n")
    vm.console.expect("cloned")
    if number == 3:
        assert False, "see its files"
""", "-n", "2", f"--qemu-templates-dir={self.folder / 'templates'}")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"failed": 1, "passed": 3}, ended.stdout)
        self.assertEqual(len(Path(f"{self.pids}.boots").read_text().split()), 1)
        self.assertIn("QMP transcript", ended.stdout)
        folder = next(self.artifacts.glob("test_it.py-test_clone-3*"))
        self.assertTrue(list(folder.glob("*/console.log")), list(folder.iterdir()))

    def test_each_test_begins_with_the_same_state_of_a_shared_machine(self) -> None:
        disk = self.folder / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
        body = f"""
@pytest.fixture(scope="module")
def shared(qemu_machine_module):
    disk = {{"file": {str(disk)!r}, "format": "qcow2", "if": "ide"}}
    vm = qemu_machine_module(firmware=tiny_guest(), disks=[disk])
    vm.console.expect("> ")
    return vm

@pytest.mark.parametrize("number", range(3))
def test_state(shared, qemu_snapshot, number):
    note(shared)
    vm = qemu_snapshot(shared)
    assert vm is shared
    assert vm.qmp.execute("query-status")["running"]
    assert len(vm.snapshots()) == 1
    # Only a guest that is back where it was answers without a new greeting.
    vm.console.send("echo test-" + str(number) + "\\n")
    assert "tiny guest" not in vm.console.expect("(?s).*test-" + str(number)).text
    vm.qmp.execute("stop")
    if number == 1:
        vm.qmp.execute("system_reset")

def test_paused(qemu_machine, qemu_snapshot):
    vm = qemu_machine("-S", firmware=tiny_guest())
    note(vm)
    with pytest.raises(SnapshotError, match="qcow2"):
        qemu_snapshot(vm)
"""
        for _ in range(2):
            # The second run has the snapshot of the first in its disk.
            ended = self.run_tests(body)
            self.assertEqual(self.outcomes(ended.stdout), {"passed": 4}, ended.stdout)
        self.assertEqual(len(set(self.noted())), 4)

    @unittest.skipUnless(find_spec("pytest_timeout"), "pytest-timeout is not installed")
    def test_a_timeout_of_pytest_timeout_ends_the_machine_and_keeps_what_is_known(self) -> None:
        body = """
def test_hangs(tiny):
    vm = tiny(name="sick")
    note(vm)
    vm.console.send("echo last words\\n")
    vm.console.expect("last words")
    vm.wait(timeout=None)

def test_next(tiny):
    note(tiny())
"""
        for method in ("signal", "thread"):
            with self.subTest(method):
                self.pids.write_text("")
                ended = self.run_tests(body, "--timeout=4", f"--timeout-method={method}")
                self.assertNotEqual(ended.returncode, 0)
                self.assertIn("Timeout", ended.stdout + ended.stderr)
                kept = self.artifacts_of("test_hangs") / "sick"
                self.assertIn("last words", (kept / "console.log").read_text())
                self.assertTrue((kept / "transcript.jsonl").stat().st_size > 0)
                if method == "signal":
                    # The run goes on, and the failed test has its report.
                    counts = {"failed": 1, "passed": 1}
                    self.assertEqual(self.outcomes(ended.stdout), counts, ended.stdout)
                    for part in ("qemu command line", "console (last 100 lines)", "QMP transcript"):
                        self.assertIn(part, ended.stdout)
                    self.assertTrue((kept / "exit-report.txt").exists())
                    self.assertEqual(len(self.noted()), 2)
                else:
                    # pytest-timeout ends the process at once.
                    self.assertEqual(len(self.noted()), 1)
                    self.assertIn("wait", ended.stdout + ended.stderr)

    def test_no_machine_survives_an_interrupt_a_crash_of_a_worker_or_a_kill(self) -> None:
        body = """
def test_stays(tiny):
    note(tiny())
    WHAT
"""
        for number, options, what in (
            (signal.SIGINT, (), "tiny().wait(timeout=None)"),
            (signal.SIGKILL, (), "tiny().wait(timeout=None)"),
            (None, ("-n", "1", "--max-worker-restart=0"), "os.kill(os.getpid(), 9)"),
            (None, (), "os._exit(3)"),
        ):
            with self.subTest(what, number=number):
                self.pids.write_text("")
                ready = self.folder / "ready"
                if not ready.exists():
                    os.mkfifo(ready)
                if number is None:
                    self.run_tests(body.replace("WHAT", what), *options)
                else:
                    told = f"vm = tiny(); note(vm); open({str(ready)!r}, 'w').close(); vm.wait(timeout=None)"
                    run = subprocess.Popen(
                        self.command(body.replace("WHAT", told)), cwd=self.folder,
                        env=self.environment(), stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    )  # fmt: skip
                    open(ready).close()
                    run.send_signal(number)
                    said = run.communicate(timeout=LONG)[0]
                    if number == signal.SIGINT:
                        self.assertIn("KeyboardInterrupt", said)
                self.assertTrue(self.noted())
                for pid in self.noted():
                    self.assertTrue(has_ended(pid))


if __name__ == "__main__":
    unittest.main()
