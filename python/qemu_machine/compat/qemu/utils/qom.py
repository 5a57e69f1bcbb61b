"""``qom``: read, write and list QEMU's objects.

It has the subcommands ``get``, ``list``, ``set``, ``tree`` and, where the module
``fuse`` and libfuse are installed, ``fuse``.
"""

from __future__ import annotations

import argparse
import sys

from qemu.qmp import ExecuteError

from .qom_common import QOMCommand

try:
    from .qom_fuse import QOMFuse
except (ModuleNotFoundError, OSError) as missing:
    # Without libfuse, `fuse` itself raises an OSError.
    if isinstance(missing, ModuleNotFoundError) and missing.name != "fuse":
        raise
    _HAS_FUSE = False
else:
    _HAS_FUSE = True


class QOMSet(QOMCommand):
    """Sets a property."""

    name = "set"
    help = "Set a QOM property value"

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        super().configure_parser(parser)
        cls.add_path_prop_arg(parser)
        parser.add_argument("value", metavar="<value>", help="the new value, a string")

    def __init__(self, args: argparse.Namespace) -> None:
        self.path, self.prop = self.split_path_prop(args.path_prop)
        super().__init__(args)
        self.value = args.value

    def run(self) -> int:
        print(self.qmp.cmd("qom-set", path=self.path, property=self.prop, value=self.value))
        return 0


class QOMGet(QOMCommand):
    """Prints a property."""

    name = "get"
    help = "Get a QOM property value"

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        super().configure_parser(parser)
        cls.add_path_prop_arg(parser)

    def __init__(self, args: argparse.Namespace) -> None:
        self.path, self.prop = self.split_path_prop(args.path_prop)
        super().__init__(args)

    def run(self) -> int:
        value = self.qmp.cmd("qom-get", path=self.path, property=self.prop)
        if isinstance(value, dict):
            for key, member in value.items():
                print(f"{key}: {member}")
        else:
            print(value)
        return 0


class QOMList(QOMCommand):
    """Prints the names of an object's properties."""

    name = "list"
    help = "List QOM properties at a given path"

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        super().configure_parser(parser)
        parser.add_argument("path", metavar="<path>", help="the object's path")

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.path = args.path

    def run(self) -> int:
        for item in self.qom_list(self.path):
            if item.child:
                print(f"{item.name}/")
            elif item.link:
                print(f"@{item.name}/")
            else:
                print(item.name)
        return 0


class QOMTree(QOMCommand):
    """Prints an object, its properties, and all objects below it."""

    name = "tree"
    help = "Show QOM tree from a given path"

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        super().configure_parser(parser)
        parser.add_argument(
            "path", metavar="<path>", nargs="?", default="/", help="where to begin (default: /)"
        )

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.path = args.path

    def run(self) -> int:
        # A list instead of recursion: the tree may be deep.
        paths = [self.path]
        while paths:
            path = paths.pop()
            children = self._show(path)
            parent = "" if path == "/" else path
            paths += [f"{parent}/{child}" for child in reversed(children)]
        return 0

    def _show(self, path: str) -> list[str]:
        """Print one object. Return the names of its children."""
        print(path)
        items = self.qom_list(path)
        for item in items:
            if item.child:
                continue
            try:
                value = str(self.qmp.cmd("qom-get", path=path, property=item.name))
            except ExecuteError as err:
                value = f"<EXCEPTION: {err}>"
            print(f"  {item.name}: {value} ({item.type})")
        print()
        return [item.name for item in items if item.child]


def main() -> int:
    """Run ``qom`` as a program. Return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in (QOMGet, QOMList, QOMSet, QOMTree):
        command.register(subparsers)
    if _HAS_FUSE:
        QOMFuse.register(subparsers)
    args = parser.parse_args()
    return int(args.cmd_class.command_runner(args))


if __name__ == "__main__":
    sys.exit(main())
