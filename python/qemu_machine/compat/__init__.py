"""The folder that replaces QEMU's own Python packages.

It holds ``qemu``, a namespace package, and is on no path by itself. Put it
first on ``PYTHONPATH``: ``PYTHONPATH=$(python3 -m qemu_machine.compat)``.
"""

from pathlib import Path


def directory() -> str:
    """Return the folder to put first on ``PYTHONPATH`` or ``sys.path``."""
    return str(Path(__file__).resolve().parent)
