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


if __name__ == "__main__":
    unittest.main()
