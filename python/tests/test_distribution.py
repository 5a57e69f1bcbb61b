"""The second distribution, which installs the replacement as ``qemu``."""

import contextlib
import importlib
import io
import os
import re
import sys
from typing import Any, Dict, List, Tuple
from unittest import mock

from tests.scripted import Test

from qemu_machine.compat import directory

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def section(name: str, folder: str = "compat-dist") -> Dict[str, str]:
    """The lines of a section of the project file. Python 3.9 reads no TOML."""
    with open(os.path.join(ROOT, folder, "pyproject.toml"), encoding="utf-8") as file:
        _, _, rest = file.read().partition(f"[{name}]\n")
    lines = rest.partition("\n[")[0].splitlines()
    pairs = (line.partition(" = ") for line in lines if " = " in line)
    return {key: value for key, _, value in pairs}


def programs() -> List[Tuple[str, str]]:
    """The name and the entry point of each program."""
    return [(name, value.strip('"')) for name, value in section("project.scripts").items()]


def resolved(entry: str) -> Any:
    """The function of an entry point."""
    module, _, names = entry.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


class Distribution(Test):
    def test_it_has_all_packages(self) -> None:
        listed = re.findall(r'"(.*?)"', section("tool.setuptools")["packages"])
        found = {f"qemu.{name}" for name in os.listdir(os.path.join(directory(), "qemu"))}
        self.assertEqual(set(listed), {name for name in found if "__" not in name})
        there = section("tool.setuptools.package-dir")["qemu"].strip('"')
        path = os.path.join(ROOT, "compat-dist", there)
        self.assertTrue(os.path.samefile(path, os.path.join(directory(), "qemu")))

    def test_it_has_the_version_of_the_first_and_needs_it(self) -> None:
        version = section("project")["version"]
        first = section("project", folder="")
        self.assertEqual(version, first["version"])
        needed = "{}=={}".format(first["name"].strip('"'), version.strip('"'))
        self.assertEqual(section("project")["dependencies"], f'["{needed}"]')

    def test_each_program_has_a_help(self) -> None:
        self.assertEqual(len(programs()), 9)
        for program, entry in programs():
            with self.subTest(program):
                if program == "qom-fuse":
                    # It stands for the module of fusepy.
                    with mock.patch.dict(sys.modules, fuse=mock.Mock(Operations=object)):
                        run = resolved(entry)
                else:
                    run = resolved(entry)
                said = io.StringIO()
                with mock.patch("sys.argv", [program, "--help"]):
                    with contextlib.redirect_stdout(said), self.assertRaises(SystemExit) as end:
                        run()
                self.assertEqual(end.exception.code, 0)
                self.assertIn(f"usage: {program}", said.getvalue())
