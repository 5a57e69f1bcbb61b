"""Whether this host has what a test needs."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from typing import FrozenSet, List, Optional, Sequence, Union


def missing(
    binary: str, machine: Optional[str], accel: Union[str, Sequence[str], None]
) -> Optional[str]:
    """What is missing on this host, or ``None``."""
    path = shutil.which(binary)
    if path is None:
        return f"{binary} is not installed"
    kind = machine.split(",")[0] if machine else None
    if kind and kind not in _listed(path, "-machine"):
        return f"{binary} has no machine type {kind}"
    names = accel_names(accel)
    # The search for the best one finds out by itself.
    if names and "best" not in names and not any(_has_accel(path, name) for name in names):
        return f"no accelerator of {', '.join(names)} works with {binary} on this host"
    return None


def accel_names(accel: Union[str, Sequence[str], None]) -> List[str]:
    """The names of the accelerators, without their options."""
    wanted = [accel] if isinstance(accel, str) else list(accel or ())
    return [it.split(",")[0] for it in wanted]


def _has_accel(path: str, name: str) -> bool:
    if name == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    return name in _listed(path, "-accel")


@functools.lru_cache(maxsize=None)
def _listed(path: str, option: str) -> FrozenSet[str]:
    """The names that QEMU lists for an option. Each is the first word of a line."""
    said = subprocess.run(
        [path, option, "help"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return frozenset(re.findall(r"^([\w.-]+)", said.stdout, re.M))
