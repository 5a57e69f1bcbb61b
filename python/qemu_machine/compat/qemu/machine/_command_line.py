"""The arguments that a machine adds to QEMU's command line."""

from __future__ import annotations

import socket
from typing import List, Optional, Tuple, Union

#: A descriptor, a path, or a host and port.
Endpoint = Union[int, str, Tuple[str, int]]


def monitor(endpoint: Endpoint) -> List[str]:
    """QEMU's monitor, at this end of a connection."""
    return ["-chardev", _chardev("mon", endpoint), "-mon", "chardev=mon,mode=control"]


def console(descriptor: int, index: int, device_type: Optional[str]) -> List[str]:
    """The console, after so many unused serial ports."""
    unused = ["-serial", "null"] * index
    user = ["-serial", "chardev:console"]
    if device_type is not None:
        user = ["-device", f"{device_type},chardev=console"]
    return [*unused, "-chardev", _chardev("console", descriptor), *user]


def qtest(descriptor: int) -> List[str]:
    """The channel of qtest."""
    chardev = ["-chardev", _chardev("qtest", descriptor)]
    return [*chardev, "-qtest", "chardev:qtest", "-accel", "qtest"]


def childs_end(pair: Optional[Tuple[socket.socket, socket.socket]]) -> int:
    """The descriptor that QEMU gets. -1 outside a launch."""
    return -1 if pair is None else pair[1].fileno()


def _chardev(name: str, endpoint: Endpoint) -> str:
    if isinstance(endpoint, int):
        where = f"fd={endpoint}"
    elif isinstance(endpoint, str):
        where = f"path={_escaped(endpoint)}"
    else:
        where = f"host={_escaped(endpoint[0])},port={endpoint[1]}"
    return f"socket,id={name},{where}"


def _escaped(text: str) -> str:
    """A comma would end the value."""
    return text.replace(",", ",,")
