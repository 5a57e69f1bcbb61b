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


if __name__ == "__main__":
    unittest.main()
