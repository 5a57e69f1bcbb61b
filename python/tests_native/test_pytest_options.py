"""The options and the mark of the plugin of pytest."""

import unittest

from pytest_runs import PluginTest


class Options(PluginTest):
    def test_the_mark_takes_the_best_accelerator(self) -> None:
        ended = self.run_tests("""
@pytest.mark.qemu(accel="best")
def test_mark(tiny):
    vm = tiny()
    note(vm)
    assert vm.argv[vm.argv.index("-accel") + 1] in ("kvm", "tcg")

def test_call(tiny):
    note(tiny(accel=("best",)))
""")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"passed": 2}, ended.stdout)

    def test_a_wrong_value_ends_the_run_at_its_start(self) -> None:
        body = "def test_it(): pass"
        for name, value, told in (
            ("artifacts", "on_failure", "on-failure, always, never"),
            ("console", "dead", "capture, live"),
            ("timeout", "abc", "seconds"),
            ("timeout", "-1", "seconds"),
            ("timeout", "nan", "seconds"),
            ("accel", "foo", "kvm, tcg"),
            ("accel", "kvm,,tcg", "kvm, tcg"),
            ("keep", "maybe", "maybe"),
        ):
            settings = [("ini", f"[pytest]\nqemu_{name} = {value}\n", ())]
            if name != "keep":
                settings.append(("option", "[pytest]\n", (f"--qemu-{name}={value}",)))
            for where, ini, options in settings:
                with self.subTest(where, name=name, value=value):
                    (self.folder / "pytest.ini").write_text(ini)
                    command = self.command(body, *options)
                    # This class sets it on the command line, which wins.
                    command.remove("--qemu-accel=tcg")
                    ended = self.run_command(command)
                    self.assertEqual(ended.returncode, 4, ended.stdout)
                    shown = f"qemu_{name}" if where == "ini" else f"--qemu-{name}"
                    self.assertRegex(ended.stderr, rf"(?i)error: .*{shown}\b.*: .*")
                    self.assertIn(told, ended.stderr.replace("'", ""))

    def test_good_values_pass(self) -> None:
        (self.folder / "pytest.ini").write_text(
            "[pytest]\nqemu_artifacts = always\nqemu_timeout =\nqemu_console = live\n"
        )
        for options in ((), ("--qemu-accel=kvm,tcg", "--qemu-timeout=0.5", "-n1")):
            ended = self.run_tests("def test_it(): pass", *options)
            self.assertEqual(self.outcomes(ended.stdout), {"passed": 1}, ended.stdout)

    def test_the_type_of_the_fixtures_can_be_imported(self) -> None:
        ended = self.run_tests("""
from qemu_machine.pytest_plugin import MachineFactory

@pytest.fixture(scope="session")
def shared(qemu_machine_session: MachineFactory) -> MachineFactory:
    return qemu_machine_session

def test_type(qemu_machine: MachineFactory, shared: MachineFactory) -> None:
    assert isinstance(qemu_machine, MachineFactory) and isinstance(shared, MachineFactory)
""")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"passed": 1}, ended.stdout)


if __name__ == "__main__":
    unittest.main()
