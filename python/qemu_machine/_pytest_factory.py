"""The factory behind the fixtures: launches machines, and ends them."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

import pytest

from ._errors import GuestCrashed, QemuMachineError
from ._machine import Machine
from ._pytest_artifacts import Artifacts
from ._pytest_needs import accel_names, missing
from ._pytest_settings import Settings, worker

if TYPE_CHECKING:
    from ._template import Template


class MachineFactory:
    """Launches machines for tests. They end with the fixture, the last one first."""

    def __init__(
        self,
        settings: Settings,
        node: pytest.Item,
        scope: str,
        tmp: pytest.TempPathFactory,
    ) -> None:
        self._settings = settings
        #: The test, class, module or session to which the machines belong.
        self.node = node
        self.fixture = "qemu_machine" if scope == "function" else f"qemu_machine_{scope}"
        self._machines: List[Machine] = []
        self._artifacts: Dict[Machine, Artifacts] = {}
        self._watchers: List[subprocess.Popen[bytes]] = []
        self._has_failed = False
        self._options = _marked(node)
        self._may_crash = bool(self._options.pop("may_crash", False))
        self._name = _slug(node.nodeid or "session")
        if scope != "function" and worker():
            self._name += "-" + worker()
        base = settings.artifacts_folder or tmp.getbasetemp() / "qemu-artifacts"
        self._folder = base / self._name
        settings.factories.append(self)

    def __call__(self, *args: str, **options: Any) -> Machine:
        """Launches a machine, with these arguments of QEMU and options of
        ``Machine``. The options of the mark ``qemu`` are its defaults."""
        # So a skip or an error is at the line of the test.
        __tracebackhide__ = True
        given = self._complete(args, options)
        folder = self._next_folder(given)
        if folder.is_dir() and given["console"]:
            given.setdefault("console_log", folder / "console.log")
        vm = Machine(given.pop("binary"), **given)
        return self._launch(vm, given["name"], folder)

    def template(
        self,
        set_up: Callable[[Machine], object],
        *args: str,
        version: Optional[str] = None,
        **options: Any,
    ) -> Template:
        """Makes a template, or opens it: the guest boots once for all tests, workers
        and runs. ``set_up(vm)`` brings it to the moment at which it is frozen. The
        source of ``set_up`` is part of the template's ``version``, if none is given."""
        __tracebackhide__ = True
        given = self._complete(args, options)
        machine = Machine(given.pop("binary"), **given)
        version = _version(set_up) if version is None else version
        return self._settings.store().template(machine, set_up, version=version)

    def clone(self, template: Template, **options: Any) -> Machine:
        """Launches a clone of a template. It takes the options of
        ``Template.machine``."""
        __tracebackhide__ = True
        folder = self._next_folder(options)
        if folder.is_dir() and template._native.has_console:
            options.setdefault("console_log", folder / "console.log")
        return self._launch(template.machine(**options), options["name"], folder)

    def running(self) -> List[Machine]:
        """The machines that run."""
        return [vm for vm in self._machines if vm.is_running]

    def raise_crashes(self, item: pytest.Item) -> None:
        """Raises ``GuestCrashed`` if a machine crashed that nobody has waited for."""
        __tracebackhide__ = True
        if self._may_crash or _marked(item).get("may_crash"):
            for vm in self._machines:
                vm._is_reported = True
            return
        for vm in self._machines:
            if vm._is_reported:
                continue
            report = None if vm.is_running else vm.report
            if report is None:
                if not _has_panicked(vm):
                    continue
                vm._is_reported = True
                raise GuestCrashed(f"the guest of {vm.name} panicked", kind="guest")
            if report.is_failure or report.guest_panicked:
                # Once is enough: the end of the fixture is silent then.
                raise GuestCrashed(str(report), kind="ended", report=report)
            # Only a crash is of interest here.
            vm._is_reported = False

    def describe_failure(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Adds what is known of the machines to the report of a failed test."""
        self.keep_artifacts()
        for artifacts in self._artifacts.values():
            label = f" of {artifacts.name}" if len(self._artifacts) > 1 else ""
            for title, text in artifacts.sections():
                report.sections.append((f"{title}{label}", text))
        if self._artifacts and self._settings.artifacts != "never":
            fact = ("qemu_artifacts", str(self._folder))
            if fact not in item.user_properties:
                item.user_properties.append(fact)
            if fact not in report.user_properties:
                report.user_properties.append(fact)

    def keep_artifacts(self) -> None:
        """Keeps the files, unless the user never wants them."""
        self._has_failed = True

    def close(self) -> None:
        """Ends all machines, the last one first."""
        __tracebackhide__ = True
        errors: List[BaseException] = []
        try:
            while self._machines:
                self._close_one(self._machines.pop(), errors)
        finally:
            # An interrupt came in between: the rest must not wait for another one.
            for vm in self._machines:
                with contextlib.suppress(QemuMachineError):
                    vm.kill()
            for watcher in self._watchers:
                watcher.wait()
            self._settings.factories.remove(self)
            keep = self._settings.artifacts
            if keep != "always" and not ((self._has_failed or errors) and keep == "on-failure"):
                shutil.rmtree(self._folder, ignore_errors=True)
        if errors:
            # The error says all: where it was raised is of no interest to a user.
            raise errors[0].with_traceback(None)

    def _close_one(self, vm: Machine, errors: List[BaseException]) -> None:
        artifacts = self._artifacts[vm]
        if self._may_crash:
            vm._is_reported = True
        if self._settings.artifacts != "never":
            artifacts.save_console()
        try:
            vm.__exit__(None, None, None)
        except QemuMachineError as error:
            errors.append(error)
        if self._settings.artifacts != "never":
            artifacts.save_report()

    def _complete(self, args: Any, options: Dict[str, Any]) -> Dict[str, Any]:
        """The options with those of the mark, and the defaults. Skips the test if this
        host lacks something."""
        __tracebackhide__ = True
        marked = self._options
        given = {"console": True, **marked, **options}
        given["args"] = [*marked.get("args", ()), *args, *options.get("args", ())]
        binary = os.fspath(given.setdefault("binary", self._settings.binary))
        lacks = missing(binary, given.get("machine"), given.get("accel"))
        if lacks is not None:
            if self._settings.is_required:
                pytest.fail(f"qemu: {lacks}", pytrace=False)
            pytest.skip(f"qemu: {lacks}")
        accels = accel_names(given.get("accel"))
        if not accels:
            given["accel"] = self._settings.accel(binary)
        elif "best" in accels:
            given["accel"] = self._settings.best_accel(binary)
        if self._settings.timeout is not None:
            given.setdefault("timeout", self._settings.timeout)
        return given

    def _next_folder(self, options: Dict[str, Any]) -> Path:
        """The folder of the next machine. Sets the options that write into it."""
        number = len(self._artifacts) + 1
        if options.get("name") is None:
            options["name"] = f"{self._name[:40]}-{number}"
        folder = self._folder / _slug(options["name"])
        if self._settings.artifacts != "never" or self._settings.is_live:
            if number == 1:
                # Of an earlier run.
                shutil.rmtree(self._folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            options.setdefault("log_dir", folder)
            options.setdefault("transcript", folder / "transcript.jsonl")
        return folder

    def _launch(self, vm: Machine, name: str, folder: Path) -> Machine:
        __tracebackhide__ = True
        # A launch that fails has files, too.
        self._artifacts[vm] = Artifacts(vm, name, folder, self._settings.artifacts != "never")
        vm.launch()
        self._machines.append(vm)
        self._settings.remember(vm, folder)
        if self._settings.is_live:
            self._print_live(vm)
        return vm

    def _print_live(self, vm: Machine) -> None:
        """Prints the console as it is written, past the capture of pytest."""
        log = vm.console.log
        if log is None:
            return
        # The kernel notifies `tail` of each change, and of the end of QEMU.
        command = ["tail", "-n", "+1", "-f", f"--pid={vm.pid}", log]
        with self._settings.uncaptured():
            self._watchers.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)
            )


def _has_panicked(vm: Machine) -> bool:
    try:
        return bool(vm.qmp.execute_json("query-status", timeout=5)["status"] == "guest-panicked")
    except QemuMachineError:
        # The monitor may be the subject of the test.
        return False


def _marked(node: Any) -> Dict[str, Any]:
    """The options of the marks ``qemu``: the closest wins, and ``args`` are joined."""
    options: Dict[str, Any] = {}
    args: List[str] = []
    for mark in reversed(list(node.iter_markers("qemu"))):
        options.update(mark.kwargs)
        args += [*mark.args, *mark.kwargs.get("args", ())]
    if args:
        options["args"] = args
    return options


def _slug(text: str) -> str:
    """A name for a file. Different texts have different names."""
    slug = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "machine"
    if slug == text and len(slug) < 80:
        return slug
    return f"{slug[-70:]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _version(set_up: Callable[[Machine], object]) -> str:
    try:
        source = inspect.getsource(set_up)
    except (OSError, TypeError) as error:
        message = "the set-up of a template needs `version=`, because its source is not known"
        raise ValueError(message) from error
    return hashlib.sha256(source.encode()).hexdigest()[:16]
