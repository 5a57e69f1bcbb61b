"""The options of the plugin, and which values they take.

pytest loads this in every run, so it imports nothing else of the package.
"""

from __future__ import annotations

from typing import Any, Dict

import pytest

#: The name of each option, its default, and its help. Each is also an ini option.
OPTIONS = (
    ("binary", None, "QEMU's binary; by default qemu-system-ARCH of this host's kind"),
    ("accel", "best", "accelerators, separated by commas, or 'best': the one that works"),
    ("timeout", None, "default limit of each operation on a machine, in seconds"),
    ("artifacts", "on-failure", "keep logs of machines: on-failure, always or never"),
    ("artifacts-dir", None, "where the logs are; by default below pytest's tmp_path"),
    ("templates-dir", None, "where templates are kept; by default in ~/.cache"),
    ("console", "capture", "'live' also prints the consoles as they are written"),
)
#: The same for options without a value.
FLAGS = (
    ("keep", "after a failure, keep the machines until you press Enter"),
    ("require", "fail instead of skip, if a binary, machine type or accelerator is missing"),
)
#: The values of options that take no others.
CHOICES = {"artifacts": ["on-failure", "always", "never"], "console": ["capture", "live"]}
#: The accelerators of QEMU.
ACCELS = ("kvm", "tcg", "hvf", "whpx", "mshv", "nvmm", "xen", "hax", "qtest")


def add(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("qemu", "virtual machines of QEMU")
    for name, default, text in OPTIONS:
        shown = text.replace("%", "%%") + (f" (default: {default})" if default else "")
        group.addoption(
            f"--qemu-{name}", default=None, help=shown, choices=CHOICES.get(name),
            metavar=None if name in CHOICES else name.split("-")[-1].upper(),
        )  # fmt: skip
        parser.addini(_ini(name), text, default=default)
    for name, text in FLAGS:
        group.addoption(f"--qemu-{name}", action="store_true", default=None, help=text)
        parser.addini(_ini(name), text, type="bool", default=False)


def values(config: pytest.Config) -> Dict[str, Any]:
    """The value of each option: that on the command line, else that of the ini file,
    else the default. Raises ``pytest.UsageError`` if one is wrong."""
    found: Dict[str, Any] = {}
    for name, *_ in (*OPTIONS, *FLAGS):
        option = f"--qemu-{name}"
        value = config.getoption(option)
        try:
            if value is None:
                option = f"{_ini(name)} in the ini file"
                value = config.getini(_ini(name))
            _check(name, value)
        except (ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"{option}: {error}") from None
        found[name] = value
    return found


def _check(name: str, value: Any) -> None:
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"{value!r} is none of {', '.join(CHOICES[name])}")
    if name == "timeout" and value and not _is_limit(value):
        raise ValueError(f"{value!r} is no number of seconds from 0")
    if name == "accel" and value != "best":
        for accel in value.split(","):
            if accel not in ACCELS:
                known = ", ".join(ACCELS)
                raise ValueError(f"{accel!r} is no accelerator: use 'best', or some of {known}")


def _is_limit(text: str) -> bool:
    try:
        # This is also wrong for what is not a number.
        return float(text) >= 0
    except ValueError:
        return False


def _ini(name: str) -> str:
    return "qemu_" + name.replace("-", "_")
