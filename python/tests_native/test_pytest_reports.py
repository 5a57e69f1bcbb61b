"""What the plugin of pytest keeps and reports of a test."""

import unittest

from pytest_runs import PluginTest


class Reports(PluginTest):
    def test_tests_with_similar_names_have_folders_of_their_own(self) -> None:
        values = ["<", ">", "==", "a b", "a-b", "1", "+1"]
        ended = self.run_tests(f"""
@pytest.mark.parametrize("value", {values!r})
def test_op(tiny, value):
    vm = tiny()
    note(vm)
    vm.console.send(f"echo value {{value}}.\\n")
    vm.console.expect("> $")
    assert False
""", "--junitxml=junit.xml")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"failed": len(values)}, ended.stdout)
        folders = list(self.artifacts.iterdir())
        self.assertEqual(len(folders), len(values))
        said = [it.read_text() for it in self.artifacts.glob("*/*/console.log")]
        for value in values:
            self.assertEqual(len([it for it in said if f"value {value}." in it]), 1, value)
        self.assertEqual(sorted(self.properties()), sorted(map(str, folders)))

    def test_a_failed_launch_has_sections_and_its_folder(self) -> None:
        ended = self.run_tests("""
def test_bogus(qemu_machine):
    qemu_machine("-bogus", name="a b")

def test_late(tiny):
    tiny(name="fine")
    tiny("-device", "no-such-device", name="sick")
""", "--junitxml=junit.xml")  # fmt: skip
        self.assertEqual(self.outcomes(ended.stdout), {"failed": 2}, ended.stdout)
        for title in ("qemu command line", "QEMU's output", "QMP transcript of sick"):
            self.assertRegex(ended.stdout, rf"(?m)^-+ ({title}) -+$")
        folders = [self.artifacts_of("test_bogus"), self.artifacts_of("test_late")]
        self.assertEqual(self.properties(), list(map(str, folders)))
        (log,) = folders[0].glob("*/a b.log")
        self.assertIn("-bogus", log.read_text())
        self.assertEqual(len(list(folders[1].iterdir())), 2)

    def test_ctrl_c_keeps_the_files_of_the_interrupted_test_only(self) -> None:
        ended = self.run_tests("""
def test_passes(tiny):
    note(tiny())

def test_interrupted(tiny):
    vm = tiny(name="sick")
    note(vm)
    vm.console.send("echo last words\\n")
    vm.console.expect("last words")
    os.kill(os.getpid(), signal.SIGINT)
""")  # fmt: skip
        self.assertIn("KeyboardInterrupt", ended.stdout)
        kept = self.artifacts_of("test_interrupted")
        self.assertEqual(list(self.artifacts.iterdir()), [kept])
        self.assertIn("last words", (kept / "sick" / "console.log").read_text())
        self.assertTrue((kept / "sick" / "exit-report.txt").exists())

    def test_skips_and_errors_are_at_the_line_of_the_test(self) -> None:
        crash = """
    with vm.events() as events:
        os.kill(vm.pid, signal.SIGABRT)
        for _ in events: pass
"""
        body = f"""
@pytest.mark.qemu(accel="hvf")
def test_skipped(qemu_machine):
    qemu_machine()  # HERE

def test_crash(tiny):
    vm = tiny()
    note(vm){crash}
@pytest.fixture
def late(tiny):
    vm = tiny()
    note(vm)
    yield vm{crash}
def test_late(late): pass

def test_bogus(qemu_machine):
    qemu_machine("-bogus")
"""
        for style in ("short", "long"):
            with self.subTest(style):
                ended = self.run_tests(body, "-rs", f"--tb={style}")
                counts = {"failed": 2, "passed": 1, "skipped": 1, "error": 1}
                self.assertEqual(self.outcomes(ended.stdout), counts, ended.stdout)
                lines = (self.folder / "test_it.py").read_text().splitlines()
                (place,) = (number for number, it in enumerate(lines, 1) if "# HERE" in it)
                self.assertIn(f"test_it.py:{place}: qemu: no accelerator", ended.stdout)
                self.assertEqual(ended.stdout.count("GuestCrashed: "), 2)
                self.assertNotIn("pytest_plugin.py:", ended.stdout)
                self.assertNotIn("_pytest_factory.py:", ended.stdout)


if __name__ == "__main__":
    unittest.main()
