"""The common part of the tools that read and write QEMU's objects."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, ClassVar, Dict, List, Optional, Type, TypeVar

from qemu.qmp import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol

C = TypeVar("C", bound="QOMCommand")


class ObjectPropertyInfo:
    """One property of an object, as ``qom-list`` describes it."""

    def __init__(
        self,
        name: str,
        type_: str,
        description: Optional[str] = None,
        default_value: Optional[object] = None,
    ) -> None:
        self.name = name
        self.type = type_
        self.description = description
        self.default_value = default_value

    @classmethod
    def make(cls, value: Dict[str, Any]) -> ObjectPropertyInfo:
        """Return the property that an object of QMP describes."""
        return cls(
            value["name"], value["type"], value.get("description"), value.get("default-value")
        )

    @property
    def child(self) -> bool:
        """Whether it is an object that belongs to this one."""
        return self.type.startswith("child<")

    @property
    def link(self) -> bool:
        """Whether it refers to another object."""
        return self.type.startswith("link<")


class QOMCommand:
    """A tool, or a subcommand of one. A subclass has its name, help, and work.

    :raise QMPError: The connection failed.
    """

    name: ClassVar[str]
    help: ClassVar[str]

    def __init__(self, args: argparse.Namespace) -> None:
        if args.socket is None:
            raise QMPError("No QMP socket: use --socket, or set QMP_SOCKET")
        self.qmp = QEMUMonitorProtocol(QEMUMonitorProtocol.parse_address(args.socket))
        self.qmp.connect()

    @classmethod
    def register(cls, subparsers: Any) -> None:
        """Add this tool as a subcommand."""
        parser = subparsers.add_parser(cls.name, help=cls.help, description=cls.help)
        parser.set_defaults(cmd_class=cls)
        cls.configure_parser(parser)

    @classmethod
    def configure_parser(cls, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of this tool."""
        default = os.environ.get("QMP_SOCKET")
        parser.add_argument(
            "--socket",
            "-s",
            metavar="SOCKET",
            default=default,
            help=f"QMP's socket: a path, or HOST:PORT (default: {default or '$QMP_SOCKET'})",
        )

    @classmethod
    def add_path_prop_arg(cls, parser: argparse.ArgumentParser) -> None:
        """Add the argument that names a property."""
        parser.add_argument(
            "path_prop",
            metavar="<path>.<property>",
            help="an object's path and a property, for example /machine.type",
        )

    @staticmethod
    def split_path_prop(text: str) -> List[str]:
        """Return the path and the property.

        :raise QMPError: No dot parts them.
        """
        path, dot, prop = text.rpartition(".")
        if not dot:
            raise QMPError(f"'{text}' is no <path>.<property>: the dot is missing")
        return [path, prop]

    def run(self) -> int:
        """Do the work. Return the exit status."""
        raise NotImplementedError

    def qom_list(self, path: str) -> List[ObjectPropertyInfo]:
        """Return the properties of the object at a path."""
        found = self.qmp.cmd("qom-list", path=path)
        assert isinstance(found, list)
        return [ObjectPropertyInfo.make(value) for value in found]

    @classmethod
    def command_runner(cls: Type[C], args: argparse.Namespace) -> int:
        """Connect, do the work, and disconnect. Return the exit status."""
        try:
            command = cls(args)
            try:
                return command.run()
            finally:
                command.qmp.close()
        except QMPError as err:
            print(f"{type(err).__name__}: {err}", file=sys.stderr)
            return -1

    @classmethod
    def entry_point(cls) -> int:
        """Run this tool as a program. Return its exit status."""
        parser = argparse.ArgumentParser(description=cls.help)
        cls.configure_parser(parser)
        return cls.command_runner(parser.parse_args())
