"""The types: the package and a program that uses it, checked by mypy and pyright.

basedpyright is pyright with all that it needs in one wheel.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import List, Tuple

try:
    import mypy
except ImportError:
    mypy = None  # type: ignore[assignment]

import qemu_machine

PROGRAM = """
import asyncio
from typing import Dict, Optional
from qemu_machine import Event, ExitReport, Machine, Match, ShellOutput, connect
from qemu_machine.pytest_plugin import MachineFactory

def plain() -> ExitReport:
    with Machine("qemu-system-x86_64", accel=("kvm", "tcg"), console=True) as vm:
        status: Dict[str, object] = vm.qmp.execute("query-status")
        found: Match = vm.console.expect("login: ", timeout=30)
        group: Optional[str] = found.group(1)
        with vm.events("SHUTDOWN") as events:
            event: Event = events.wait(timeout=None)
        output: ShellOutput = vm.console.shell(user="root").run("true")
        data: bytes = vm.agent.read_file("/etc/hostname")
        return vm.wait(timeout=60)

async def coroutine() -> None:
    async with Machine.from_argv(["qemu-system-x86_64"]) as vm:
        found: Match = await vm.aio.console.expect("x")
        async for event in vm.aio.events():
            name: str = event.name
        task: asyncio.Task[Match] = asyncio.create_task(vm.aio.console.expect("x"))
        report: ExitReport = await vm.aio.shutdown(powerdown=5)

def test_fixture(qemu_machine: MachineFactory) -> None:
    vm: Machine = qemu_machine("-nodefaults", memory="64M")

reveal_type(plain().code)
vm = Machine("x", memory=5)
connect(5.5)
"""


@unittest.skipUnless(mypy, "mypy is not installed")
class Types(unittest.TestCase):
    def mypy(self, *arguments: str, **environment: str) -> str:
        command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *arguments]
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [*command, "--cache-dir", folder],
                capture_output=True,
                text=True,
                cwd=folder,
                env={**os.environ, **environment},
            )
        self.assertEqual(ended.stderr, "")
        return ended.stdout

    def test_the_stub_says_what_the_module_has(self) -> None:
        # The decorator is too new for the Pythons that the package supports.
        command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-disjoint-bases"]
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [*command, "qemu_machine._native"], capture_output=True, text=True, cwd=folder
            )
        # A module in Rust has a list of all its names.
        said = [it for it in ended.stdout.splitlines() if "__all__" not in it]
        self.assertEqual((said, ended.stderr), ([], ""))

    def test_the_package_has_no_errors(self) -> None:
        self.assertEqual(self.mypy("-p", "qemu_machine", "--exclude", "compat"), "")

    def test_the_replacement_has_no_errors(self) -> None:
        # mypy takes no search path among the installed packages.
        with tempfile.TemporaryDirectory() as folder:
            installed = Path(qemu_machine.__file__).with_name("compat")
            shutil.copytree(installed / "qemu", Path(folder, "qemu"))
            bases = ("--namespace-packages", "--explicit-package-bases")
            self.assertEqual(self.mypy(*bases, str(Path(folder, "qemu")), MYPYPATH=folder), "")

    def test_a_program_is_checked_against_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "program.py")
            program.write_text(PROGRAM)
            said = self.mypy(str(program)).splitlines()
        self.assertIn('Revealed type is "', said[0])
        self.assertIn("int", said[0])
        self.assertIn('"memory"', said[1])
        self.assertIn('"connect"', said[2])
        self.assertEqual(len([line for line in said if "error" in line]), 2, said)

    def test_the_stubs_have_what_the_module_has(self) -> None:
        import ast

        import qemu_machine._native as native

        stub = Path(qemu_machine.__file__).with_name("_native.pyi")
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                self.assertTrue(hasattr(native, node.name), node.name)
            # Those with an underscore are only types.
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                real = getattr(native, node.name)
                declared = {it.name for it in node.body if isinstance(it, ast.FunctionDef)}
                present = {it for it in vars(real) if not it.startswith("__")}
                public = {it for it in declared if not it.startswith("__")}
                self.assertEqual(present, public, node.name)
                self.assertTrue(declared <= set(dir(real)), node.name)


@unittest.skipUnless(importlib.util.find_spec("basedpyright"), "basedpyright is not installed")
class Pyright(unittest.TestCase):
    def said(self, mode: str, **settings: object) -> List[Tuple[str, int, str]]:
        """The severity, the line and the rule of what it says."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "program.py").write_text(PROGRAM)
            config = {**settings, "typeCheckingMode": mode}
            Path(folder, "pyrightconfig.json").write_text(json.dumps(config))
            command = [sys.executable, "-m", "basedpyright", "--outputjson", "-p", folder]
            command += ["--pythonpath", sys.executable]
            ended = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        said = json.loads(ended.stdout)["generalDiagnostics"]
        return [
            (one["severity"], one["range"]["start"]["line"], one.get("rule", one["message"]))
            for one in said
        ]

    def test_the_package_has_no_errors(self) -> None:
        package = str(Path(qemu_machine.__file__).parent)
        exclude = [str(Path(package, "compat"))]
        self.assertEqual(self.said("standard", include=[package], exclude=exclude), [])

    def test_a_program_is_checked_against_it(self) -> None:
        unused = {"reportUnusedVariable": False, "reportUnusedImport": False}
        last = len(PROGRAM.splitlines()) - 1
        self.assertEqual(
            self.said("strict", include=["program.py"], **unused),
            [
                ("information", last - 2, 'Type of "plain().code" is "int | None"'),
                ("error", last - 1, "reportArgumentType"),
                ("error", last, "reportArgumentType"),
            ],
        )
