"""The log of what QEMU prints.

It gets its name when somebody looks for it. Until then it is a file without a name,
which needs no folder. To make and remove a folder takes 0.4 ms, a third of what a
launch and an end add to QEMU's own time. And nothing is left of such a file.
"""

import os
from typing import BinaryIO, Optional, cast

from . import _kernel_errors


def unnamed(folder: str) -> Optional[BinaryIO]:
    """Open a new file without a name, to be named later in the same file system.

    :return: None if this folder or its file system cannot have one.
    """
    flags = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
    with _kernel_errors.ignored():
        # One call into C: no signal's handler runs between the number and the file.
        numbers = map(os.open, (folder,), (flags,), (0o666,))
        return cast(BinaryIO, next(map(open, numbers, ("wb",))))
    return None


def give_name(file: BinaryIO, path: str) -> None:
    """Give the file a name."""
    number = file.fileno()
    # Without a descriptor, which an absolute path does not use, `os.link` would name
    # the link in `/proc`, and not the file.
    os.link(f"{_NUMBERS}/{number}", path, src_dir_fd=number, follow_symlinks=True)


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
