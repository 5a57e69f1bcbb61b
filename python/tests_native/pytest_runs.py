"""Real runs of pytest, for the tests of the plugin."""

import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, List

try:
    import pytest
except ImportError:
    pytest = None  # type: ignore[assignment]

from support import LONG, has_ended

#: What most tests of the tests begin with.
HEAD = """
import os, signal
import pytest
from qemu_machine import CommandError, GuestCrashed, SnapshotError, tiny_guest

@pytest.fixture
def tiny(qemu_machine):
    def launch(*args, **options):
        vm = qemu_machine(*args, firmware=tiny_guest(), **options)
        vm.console.expect("> ")
        return vm
    return launch

def note(vm):
    with open(os.environ["PIDS"], "a") as file:
        print(vm.pid, file=file, flush=True)
"""


@unittest.skipUnless(pytest, "pytest is not installed")
class PluginTest(unittest.TestCase):
    """Runs tests of pytest, in a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.pids = self.folder / "pids"
        self.pids.touch()
        self.artifacts = self.folder / "artifacts"

    def environment(self) -> Dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        return {**kept, "PIDS": str(self.pids), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, body: str, *options: str) -> List[str]:
        (self.folder / "test_it.py").write_text(HEAD + body)
        return [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--qemu-accel=tcg",
            f"--qemu-artifacts-dir={self.artifacts}", "--basetemp", str(self.folder / "tmp"),
            "--tb=short", *options,
        ]  # fmt: skip

    def run_tests(
        self, body: str, *options: str, typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Runs the tests of a file."""
        ended = self.run_command(self.command(body, *options), typed)
        for pid in self.noted():
            self.assertTrue(has_ended(pid), ended.stdout)
        return ended

    def run_command(
        self, command: List[str], typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, input=typed, capture_output=True, text=True,
            timeout=2 * LONG, cwd=self.folder, env=self.environment(),
        )  # fmt: skip

    def noted(self) -> List[int]:
        return [int(line) for line in self.pids.read_text().split()]

    def outcomes(self, said: str) -> Dict[str, int]:
        """The counts of pytest's last line."""
        last = said.strip().splitlines()[-1]
        return {word: int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", last)}

    def artifacts_of(self, test: str) -> Path:
        """The folder of a test whose artifacts are kept."""
        (found,) = self.artifacts.glob(f"test_it.py-{test}-*")
        return found

    def properties(self) -> List[str]:
        """The folders that the JUnit file names, if the run has `--junitxml=junit.xml`."""
        found = ElementTree.parse(self.folder / "junit.xml").iter("property")
        return [it.get("value", "") for it in found if it.get("name") == "qemu_artifacts"]
