"""The options of a machine, checked before anything runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from . import _native

if TYPE_CHECKING:
    from typing import Mapping


def checked(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The options as the Rust part takes them. An exception names the option."""
    return {
        name: value if value is None or name not in _CHECKS else _CHECKS[name](name, value)
        for name, value in options.items()
    }


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a str", value)
    return value


def _number(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, "an int", value)
    return value


def _limit(name: str, value: Any) -> Any:
    if not isinstance(value, _native.Default) and not hasattr(value, "__float__"):
        raise _wrong(name, "a number of seconds", value)
    return value


def _path(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise _wrong(name, "a path", value) from None


def _words(name: str, value: Any) -> List[str]:
    return [_path(f"each of {name}", word) for word in _items(name, value)]


def _one_or_more(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    return [_text(f"each of {name}", word) for word in _items(name, value)]


def _disks(name: str, value: Any) -> List[Any]:
    return [_disk(f"each of {name}", disk) for disk in _items(name, value)]


def _disk(name: str, disk: Any) -> Any:
    if isinstance(disk, (str, os.PathLike)):
        return os.fsdecode(disk)
    try:
        options = dict(disk)
    except (TypeError, ValueError):
        raise _wrong(name, "a path or a dict of options", disk) from None
    if "file" not in options:
        raise ValueError(f"{name} has a file, but these options lack 'file'")
    return [(key, _path(f"{key!r} of a disk", value)) for key, value in options.items()]


def _items(name: str, value: Any) -> List[Any]:
    # A str is a sequence too: that of its letters.
    if isinstance(value, (str, bytes, os.PathLike)):
        raise _wrong(name, "a list", value)
    try:
        return list(value)
    except TypeError:
        raise _wrong(name, "a list", value) from None


def _firmware(name: str, value: Any) -> _native.Firmware:
    if not isinstance(value, _native.Firmware):
        raise _wrong(name, "a firmware such as tiny_guest()", value)
    return value


def _networks(name: str, value: Any) -> Any:
    if isinstance(value, _native.UserNet):
        return value
    networks = _items(name, value)
    for network in networks:
        if not isinstance(network, _native.UserNet):
            raise _wrong(f"each of {name}", "a UserNet", network)
    return networks


def _environment(name: str, value: Any) -> Dict[str, Optional[str]]:
    try:
        variables = dict(value)
    except (TypeError, ValueError):
        raise _wrong(name, "a dict of variables", value) from None
    for key, text in variables.items():
        _text(f"each variable of {name}", key)
        if not key or "=" in key or "\0" in key:
            raise ValueError(f"{name} has a variable whose name cannot be {key!r}")
        if text is not None:
            _text(f"the variable {key!r} of {name}", text)
            if "\0" in text:
                raise ValueError(f"the variable {key!r} of {name} has a zero byte")
    return variables


def _wrong(name: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{name} is {expected}, not {type(value).__name__}: {value!r}")


_CHECKS: Dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("args", "wrapper"), _words),
    **dict.fromkeys(("memory", "machine", "cpu", "append", "name"), _text),
    **dict.fromkeys(
        ("kernel", "initrd", "bios", "cwd", "log_dir", "console_log", "transcript"), _path
    ),
    **dict.fromkeys(("timeout", "launch_timeout", "quit_timeout"), _limit),
    "accel": _one_or_more,
    "disks": _disks,
    "env": _environment,
    "firmware": _firmware,
    "netdev_user": _networks,
    "smp": _number,
}
