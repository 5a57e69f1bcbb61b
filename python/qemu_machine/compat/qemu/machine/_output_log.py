"""The log of what QEMU prints.

It gets its name when somebody looks for it. Until then it is a file without a name,
which needs no folder. To make and remove a folder takes 0.4 ms, a third of what a
launch and an end add to QEMU's own time. And nothing is left of such a file.
"""

import os
from typing import BinaryIO, Optional

from . import _kernel_errors


def unnamed(folder: str) -> Optional[BinaryIO]:
    """Open a new file without a name, to be named later in the same file system.

    :return: None if this folder or its file system cannot have one.
    """
    with _kernel_errors.ignored():
        return open(folder, "wb", opener=_open_unnamed)
    return None


def _open_unnamed(folder: str, flags: int) -> int:
    flags &= ~(os.O_CREAT | os.O_TRUNC)
    return os.open(folder, flags | os.O_TMPFILE, 0o666)


def give_name(file: BinaryIO, path: str) -> None:
    """Give the file a name."""
    numbers = os.open(_NUMBERS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Without a folder, `os.link` would name the link in `/proc`, and not the file.
        os.link(str(file.fileno()), path, src_dir_fd=numbers, follow_symlinks=True)
    finally:
        os.close(numbers)


def text(file: Optional[BinaryIO], path: Optional[str]) -> str:
    """What is in it. It is still open, or found by its path."""
    name = path if file is None else f"{_NUMBERS}/{file.fileno()}"
    # It is empty nearly always.
    if name is None or not os.path.getsize(name):
        return ""
    with open(name, errors="backslashreplace") as log:
        return log.read()


#: The links to all open files.
_NUMBERS = "/proc/self/fd"
