"""What the options of pytest say, and which machines run."""

from __future__ import annotations

import contextlib
import os
import platform
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ContextManager, Dict, List, Optional, Tuple, Union

from ._machine import best_accel
from ._pytest_snapshot import Snapshots
from ._template import TemplateStore

if TYPE_CHECKING:
    from ._machine import Machine
    from ._pytest_factory import MachineFactory


class Settings:
    """The options of a run of pytest."""

    def __init__(self, options: Dict[str, Any], capture: Optional[Any]) -> None:
        self._options = options
        self._capture = capture
        #: The factories that are open, the outermost first.
        self.factories: List[MachineFactory] = []
        self.snapshots: Snapshots = Snapshots()
        self._folders: weakref.WeakKeyDictionary[Machine, Path] = weakref.WeakKeyDictionary()
        self._accels: Dict[str, str] = {}

    @property
    def binary(self) -> str:
        """The binary of machines without one."""
        return self._options["binary"] or f"qemu-system-{_architecture()}"

    def accel(self, binary: str) -> Union[str, Tuple[str, ...]]:
        """The accelerators of machines without one."""
        wanted: str = self._options["accel"]
        return self.best_accel(binary) if wanted == "best" else tuple(wanted.split(","))

    def best_accel(self, binary: str) -> str:
        """The accelerator that is the best for this binary."""
        if binary not in self._accels:
            self._accels[binary] = best_accel(binary)
        return self._accels[binary]

    @property
    def timeout(self) -> Optional[float]:
        """The default limit, if one is set."""
        wanted = self._options["timeout"]
        return float(wanted) if wanted else None

    @property
    def artifacts(self) -> str:
        """When logs are kept: ``"on-failure"``, ``"always"`` or ``"never"``."""
        return str(self._options["artifacts"])

    @property
    def artifacts_folder(self) -> Optional[Path]:
        """Where logs are kept, if the user has said."""
        wanted = self._options["artifacts-dir"]
        return Path(wanted).absolute() if wanted else None

    @property
    def is_live(self) -> bool:
        """Whether consoles are printed as they are written."""
        return bool(self._options["console"] == "live")

    @property
    def keep(self) -> bool:
        """Whether the machines of a failed test are kept until Enter is pressed."""
        return bool(self._options["keep"])

    @property
    def is_required(self) -> bool:
        """Whether something that is missing fails the test."""
        return bool(self._options["require"])

    def uncaptured(self) -> ContextManager[None]:
        """A block in which pytest does not capture what is printed."""
        if self._capture is None:
            return contextlib.nullcontext()
        block: ContextManager[None] = self._capture.global_and_fixture_disabled()
        return block

    def store(self) -> TemplateStore:
        """The store of templates, which all workers share."""
        return TemplateStore(self._options["templates-dir"] or None)

    def remember(self, vm: Machine, folder: Path) -> None:
        """Remembers where the logs of a machine are."""
        self._folders[vm] = folder

    def folder_of(self, vm: Machine) -> Optional[Path]:
        """Where the logs of a machine are."""
        return self._folders.get(vm)


def worker() -> str:
    """The name of this worker of pytest-xdist, or nothing."""
    return os.environ.get("PYTEST_XDIST_WORKER", "")


def _architecture() -> str:
    machine = platform.machine()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
