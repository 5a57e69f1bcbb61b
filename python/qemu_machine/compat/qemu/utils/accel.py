"""Which accelerators a QEMU has, and which of them work here."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import List, Optional

#: Hosts of these architectures run guests of the other one, too.
_RELATIVES = {"aarch64": "armhf", "ppc64le": "ppc64", "x86_64": "i386"}


def list_accel(qemu_bin: str) -> List[str]:
    """Return the accelerators that a binary lists. No binary lists none.

    :raise OSError: The binary cannot be started.
    :raise subprocess.CalledProcessError: It failed.
    """
    if not qemu_bin:
        return []
    output = subprocess.run(
        [qemu_bin, "-accel", "help"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        universal_newlines=True,
    ).stdout
    # The first line is a header.
    return [line.strip() for line in output.splitlines()[1:] if line.strip()]


def kvm_available(target_arch: Optional[str] = None, qemu_bin: Optional[str] = None) -> bool:
    """Return whether KVM can be used.

    :param target_arch: The architecture of the guest. The host's runs it, or a
        relative of it.
    :param qemu_bin: A binary that must have KVM.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    if target_arch:
        host = platform.machine()
        if target_arch not in (host, _RELATIVES.get(host)):
            return False
    return not qemu_bin or "kvm" in list_accel(qemu_bin)


def tcg_available(qemu_bin: str) -> bool:
    """Return whether a binary has TCG."""
    return "tcg" in list_accel(qemu_bin)


def hvf_available(qemu_bin: str) -> bool:
    """Return whether a binary has HVF, which is macOS's accelerator."""
    return "hvf" in list_accel(qemu_bin)
