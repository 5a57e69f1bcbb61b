"""The package as its users import it."""

import os
import subprocess
import sys
import textwrap
import unittest
from typing import List
from unittest import mock

from tests.scripted import scratch

from qemu import utils
from qemu_machine.compat import directory


def python(*args: str, path: str = "") -> str:
    """The output of a Python with nothing but this path."""
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-W", "error", *args],
        env=env,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    ).stdout


def python_files() -> List[str]:
    """All files of the package."""
    root = os.path.dirname(directory())
    found = []
    for folder, _, names in os.walk(root):
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return found


class Package(unittest.TestCase):
    def test_the_folder_for_the_path_is_printed(self) -> None:
        root = os.path.dirname(os.path.dirname(directory()))
        printed = python("-m", "qemu_machine.compat", path=root).strip()
        self.assertEqual(printed, directory())
        code = "import qemu.qmp as q; print(q.__file__)"
        self.assertTrue(python("-c", code, path=printed).startswith(printed))

    def test_qemu_stays_a_namespace_package(self) -> None:
        self.assertFalse(os.path.exists(os.path.join(directory(), "qemu", "__init__.py")))
        for part in ("machine", "qmp", "utils"):
            self.assertTrue(os.path.exists(os.path.join(directory(), "qemu", part, "py.typed")))
        with scratch() as other:
            os.makedirs(os.path.join(other, "qemu", "other"))
            code = "import qemu.qmp, qemu.other; print('both')"
            path = directory() + os.pathsep + other
            self.assertEqual(python("-c", code, path=path), "both\n")

    def test_importing_is_silent_and_leaves_out_the_blocking_client(self) -> None:
        code = (
            "import sys, logging, qemu.qmp; print('qemu.qmp.legacy' in sys.modules);"
            "logging.getLogger('qemu.qmp.protocol').error('loud')"
        )
        self.assertEqual(python("-c", code, path=directory()), "False\n")

    def test_the_exported_names_are_those_of_the_contract(self) -> None:
        import qemu.machine
        import qemu.qmp
        import qemu.utils

        self.assertEqual(
            sorted(qemu.qmp.__all__),
            "ConnectError EventListener ExecInterruptedError ExecuteError Message QMPClient"
            " QMPError Runstate SocketAddrT StateError".split(),
        )
        self.assertEqual(
            sorted(qemu.machine.__all__), "QEMUMachine QEMUQtestMachine QEMUQtestProtocol".split()
        )
        for module in (qemu.machine, qemu.qmp, qemu.utils):
            for name in module.__all__:
                self.assertTrue(hasattr(module, name), name)
        code = (
            "from qemu.qmp.util import (asyncio_run, create_task, exception_summary, flush,"
            " get_or_create_event_loop, is_closing, pretty_traceback, wait_closed);"
            "from qemu.qmp.protocol import InternetAddrT, UnixAddrT, SocketAddrT, require;"
            "from qemu.qmp.legacy import QMPMessage, QMPObject, QMPReturnValue;"
            "from qemu.machine.machine import (AbnormalShutdown, QEMUMachine,"
            " QEMUMachineAddDeviceError, QEMUMachineError, VMLaunchFailure);"
            "from qemu.machine import machine, qtest;"
            "from qemu.machine.console_socket import ConsoleSocket"
        )
        self.assertEqual(python("-c", code, path=directory()), "")

    def test_qom_needs_neither_fuse_nor_its_library(self) -> None:
        code = "import qemu.utils.qom as q; print(q._HAS_FUSE)"
        for source, expected in (
            ("raise EnvironmentError('Unable to find libfuse')", "False\n"),
            ("raise ModuleNotFoundError('none', name='fuse')", "False\n"),
            ("class Operations: pass", "True\n"),
        ):
            with scratch() as folder:
                with open(os.path.join(folder, "fuse.py"), "w", encoding="utf-8") as file:
                    file.write(source)
                path = folder + os.pathsep + directory()
                self.assertEqual(python("-c", code, path=path), expected)

    def test_every_file_is_short(self) -> None:
        for path in python_files():
            with open(path, encoding="utf-8") as file:
                self.assertLess(len(file.readlines()), 600, path)


class Utilities(unittest.TestCase):
    def test_accelerators_are_those_that_the_binary_lists(self) -> None:
        with scratch() as folder:
            binary = os.path.join(folder, "qemu")
            with open(binary, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\nprintf 'Accelerators supported:\\ntcg\\nkvm\\n'\n")
            os.chmod(binary, 0o755)
            self.assertEqual(utils.list_accel(binary), ["tcg", "kvm"])
            self.assertTrue(utils.tcg_available(binary))
            self.assertFalse(utils.hvf_available(binary))
            for usable, expected in ((True, True), (False, False)):
                with mock.patch("os.access", return_value=usable):
                    self.assertEqual(utils.kvm_available(qemu_bin=binary), expected)
        self.assertEqual(utils.list_accel(""), [])
        with self.assertRaises(OSError):
            utils.list_accel("/nowhere/qemu")

    def test_kvm_runs_guests_of_the_host_and_its_relatives(self) -> None:
        with mock.patch("os.access", return_value=True):
            with mock.patch("platform.machine", return_value="x86_64"):
                found = [utils.kvm_available(it) for it in ("x86_64", "i386", "aarch64", None)]
        self.assertEqual(found, [True, True, False, True])

    def test_the_port_of_a_forward_is_found(self) -> None:
        text = (
            "Hub 0 (#net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address\r\n"
            "  UDP[HOST_FORWARD]  11       127.0.0.1  9999       10.0.2.15    68     0     0\r\n"
            "  TCP[HOST_FORWARD]  12       127.0.0.1 39547       10.0.2.15    22     0     0\r\n"
        )
        self.assertEqual(utils.get_info_usernet_hostfwd_port(text), 39547)
        self.assertIsNone(utils.get_info_usernet_hostfwd_port("none\r\n"))

    def test_a_failed_command_shows_its_output(self) -> None:
        error = utils.VerboseProcessError(3, ["qemu-img", "x"], output="first\nsecond")
        self.assertEqual(error.summary(), str(subprocess.CalledProcessError(3, ["qemu-img", "x"])))
        lines = str(error).splitlines()
        self.assertEqual(lines[0], error.summary())
        self.assertIn("  ┃ first", lines)
        self.assertTrue(all(line.startswith("  ") for line in lines[1:]))

    def test_a_margin_wraps_long_lines(self) -> None:
        drawn = utils.add_visual_margin("abcdef\n\ngh", width=5, name="x")
        expected = """\
            ┏━ x
            ┃ abc
            ┃ def
            ┃
            ┃ gh
            ┗━━━━"""
        found = "\n".join(line.rstrip() for line in drawn.splitlines())
        self.assertEqual(found, textwrap.dedent(expected))
