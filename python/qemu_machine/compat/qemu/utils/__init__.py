"""Small parts of QEMU's test suites and tools."""

from .accel import hvf_available, kvm_available, list_accel, tcg_available
from .process_error import VerboseProcessError, add_visual_margin
from .usernet import get_info_usernet_hostfwd_port

__all__ = (
    "VerboseProcessError",
    "add_visual_margin",
    "get_info_usernet_hostfwd_port",
    "hvf_available",
    "kvm_available",
    "list_accel",
    "tcg_available",
)
