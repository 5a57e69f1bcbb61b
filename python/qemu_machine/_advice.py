"""The Rust library's advice in words of Python: it names methods of its builder, and
here they are options of ``Machine``."""

from __future__ import annotations

from typing import Tuple

#: What the library says, and what it is here. Longer texts come first.
WORDS: Tuple[Tuple[str, str], ...] = (
    (
        "launched without a port for a guest agent",
        "launched without a port for a guest agent; add one by `Machine(agent=True)`",
    ),
    ("add one by `builder.console()`", "add one by `Machine(console=True)`"),
    ("add it by `builder.qtest()`", "add it by `Machine(qtest=True)`"),
    (
        "call `freezable` on its builder, also if it is a template's",
        "launch it with `Machine(freezable=True)`",
    ),
    (
        "set another directory with `base_dir` and `log_dir`",
        "set another directory with `TMPDIR` and `log_dir=`",
    ),
    (
        "set another with `base_dir`, `log_dir` or `TMPDIR`",
        "set another with `TMPDIR`, for logs with `log_dir=`",
    ),
    ('emulate with `accel(["tcg"])`', 'emulate with `accel="tcg"`'),
    (
        "use `Console::virtio()`, or `Console::device` with a device such as "
        "`pci-serial`, or another machine type",
        'use `console="virtio"`, or another machine type with `machine=`',
    ),
    ("print to `Console::debugcon` without a driver", "print to a serial port"),
    (
        "use `Console::semihosting` or `Console::serial`",
        "use a serial port with `console=True`",
    ),
    (
        "set the `controller` of the console or the `guest_agent_controller`: "
        "`virtio-serial-device` on virtio-mmio",
        "add the controller by `args`: `-device virtio-serial-device` on virtio-mmio",
    ),
    ('such as `machine("virt")`', 'such as `machine="virt"`'),
    ("give the machine less by `memory`", "give the machine less by `memory=`"),
    ("give one with `user()`", "give one with `user=`"),
    ("give one with `password()`", "give one with `password=`"),
    ("with `.arg()` or `.args()`", "in `args=[…]`"),
    ("with `console().shell()`", "with `console.shell()`"),
    ("; set a larger ring with `ring_bytes()`", ""),
    ("until its last handle is dropped", "until the end of its `with` block"),
    ('`.device(&OptionGroup::new("VGA"))` or ', ""),
    # Any arguments, such as `.args(["-vga", "std"])`.
    ('`.args(["', '`args=["'),
    ('"])`', '"]`'),
)


def in_our_words(text: str) -> str:
    """The text of an error of the library, with options in place of methods."""
    for said, ours in WORDS:
        text = text.replace(said, ours)
    return text
