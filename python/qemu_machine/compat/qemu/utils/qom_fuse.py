"""``qom-fuse``: mount QEMU's objects as a file system.

Objects are directories, properties are files, and links are symbolic links. It
needs the module ``fuse``, from the distribution fusepy.
"""

from __future__ import annotations

import argparse
import errno
import stat
import sys
from typing import Dict, Iterator, List, Mapping, Optional, Tuple, Union

import fuse  # type: ignore[import-not-found, import-untyped, unused-ignore]
from qemu.qmp import ExecuteError

from .qom_common import ObjectPropertyInfo, QOMCommand

fuse.fuse_python_api = (0, 2)


class QOMFuse(QOMCommand, fuse.Operations):  # type: ignore[misc, unused-ignore]
    """Serves the objects until the directory is unmounted."""

    name = "fuse"
    help = "Mount a QOM tree as a FUSE filesystem"

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        super().configure_parser(parser)
        parser.add_argument("mount", metavar="<mount>", help="an empty directory")

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.mount = args.mount
        # The kernel wants a stable number for each path.
        self._inodes: Dict[str, int] = {}

    def run(self) -> int:
        print(f"Mounting QOMFS to '{self.mount}'", file=sys.stderr)
        fuse.FUSE(self, self.mount, foreground=True)
        return 0

    def getattr(self, path: str, fh: Optional[int] = None) -> Mapping[str, object]:
        """Return the attributes of a file."""
        if self._is_object(path):
            mode, links = stat.S_IFDIR | 0o755, 2
        elif self._is_link(path):
            mode, links = stat.S_IFLNK | 0o755, 2
        elif self._is_property(path):
            mode, links = stat.S_IFREG | 0o644, 1
        else:
            raise fuse.FuseOSError(errno.ENOENT)
        return {
            "st_mode": mode,
            "st_ino": self._inodes.setdefault(path, len(self._inodes) + 1),
            "st_nlink": links,
            "st_uid": 1000,
            "st_gid": 1000,
            # A property is read at every access, so its size is not known.
            "st_size": 4096,
            "st_atime": 0,
            "st_mtime": 0,
            "st_ctime": 0,
        }

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        """Yield the names in a directory."""
        yield "."
        yield ".."
        for item in self._items(path) or []:
            yield item.name

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Return a part of a property."""
        if not self._is_property(path):
            raise fuse.FuseOSError(errno.ENOENT)
        parent, name = _split(path)
        try:
            value = self.qmp.cmd("qom-get", path=parent, property=name)
        except ExecuteError as err:
            raise fuse.FuseOSError(errno.EPERM) from err
        return f"{value}\n".encode()[offset : offset + size]

    def readlink(self, path: str) -> Union[str, bool]:
        """Return the target of a link, relative to its directory."""
        if not self._is_link(path):
            return False
        parent, name = _split(path)
        target = str(self.qmp.cmd("qom-get", path=parent, property=name))
        return "../" * (path.count("/") - 1) + target.lstrip("/")

    def _items(self, path: str) -> Optional[List[ObjectPropertyInfo]]:
        """Return the properties of an object, or None if there is no object."""
        try:
            return self.qom_list(path)
        except ExecuteError:
            return None

    def _item(self, path: str) -> Optional[ObjectPropertyInfo]:
        parent, name = _split(path)
        found = (item for item in self._items(parent) or [] if item.name == name)
        return next(found, None)

    def _is_object(self, path: str) -> bool:
        if path == "/":
            return True
        item = self._item(path)
        return item is not None and item.child

    def _is_link(self, path: str) -> bool:
        item = self._item(path)
        return item is not None and item.link

    def _is_property(self, path: str) -> bool:
        item = self._item(path)
        return item is not None and not item.child and not item.link


def _split(path: str) -> Tuple[str, str]:
    """Return the path of the object, and the name in it."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name
