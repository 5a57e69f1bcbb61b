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


if __name__ == "__main__":
    unittest.main()
