"""What is kept of a machine when its test fails."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Iterator, List, Tuple

from ._errors import QemuMachineError
from ._machine import Machine

#: How much of a console or transcript is in a report of pytest.
LINES = 100


class Artifacts:
    """The files of one machine, and the sections of a report."""

    def __init__(self, vm: Machine, name: str, folder: Path, is_kept: bool) -> None:
        self._vm = vm
        self._folder = folder
        self._is_kept = is_kept
        #: The name of the machine.
        self.name = name

    def sections(self) -> Iterator[Tuple[str, str]]:
        """The title and the text of each section. Also saves a picture of the display,
        if there is one."""
        vm = self._vm
        if vm._native is None:
            yield from self._failed_launch()
            return
        yield "qemu command line", shlex.join(vm.argv)
        console = _console(vm)
        if console:
            yield f"console (last {LINES} lines)", _last(console)
        said = vm.output
        if said:
            yield "QEMU's output", _last(said)
        if self._is_kept:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.joinpath("command-line.txt").write_text(shlex.join(vm.argv) + "\n")
            transcript = self._transcript()
            if transcript:
                yield "QMP transcript", "\n".join(transcript[-LINES:])
            self.save_console()
        if not vm.is_running:
            yield "exit report", str(vm._vm().report)
        elif self._is_kept and self._save_screenshot():
            yield "screenshot", str(self._folder / "screenshot.png")

    def _failed_launch(self) -> Iterator[Tuple[str, str]]:
        """The sections of a machine whose launch failed. The error has its command line."""
        said = _text(self._folder / f"{self.name}.log")
        if said:
            yield "QEMU's output", _last(said)
        transcript = self._transcript()
        if transcript:
            yield "QMP transcript", "\n".join(transcript[-LINES:])

    def save_console(self) -> None:
        """Writes what the console has printed."""
        text = _console(self._vm)
        path = self._folder / "console.log"
        if text and not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, errors="replace")

    def save_report(self) -> None:
        """Writes how the machine ended."""
        report = self._vm._vm().report
        if report is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.joinpath("exit-report.txt").write_text(f"{report}\n", errors="replace")

    def _transcript(self) -> List[str]:
        """The lines of QMP, each with its direction."""
        lines = []
        try:
            with open(self._folder / "transcript.jsonl", "rb") as file:
                # The end is enough.
                file.seek(max(0, file.seek(0, os.SEEK_END) - 256 * 1024))
                for line in file.read().splitlines():
                    try:
                        entry = json.loads(line)
                        lines.append(f"{entry['at']:9.3f} {entry['dir']} {entry['bytes'].strip()}")
                    except (ValueError, KeyError, TypeError):
                        continue  # A line that is half there.
        except OSError:
            pass  # The test has its own transcript, or none.
        return lines

    def _save_screenshot(self) -> bool:
        try:
            # A machine without a display refuses at once.
            self._vm.screenshot(timeout=5).save(self._folder / "screenshot.png")
        except (QemuMachineError, OSError):
            return False
        return True


def _console(vm: Machine) -> str:
    try:
        return vm.console.tail
    except QemuMachineError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _last(text: str) -> str:
    return "\n".join(text.splitlines()[-LINES:])
