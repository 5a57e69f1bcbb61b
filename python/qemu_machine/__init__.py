"""Virtual machines of QEMU, from their launch to their end.

This release has one part: ``qemu_machine.compat``, which replaces the packages
``qemu.qmp`` and ``qemu.utils``.
"""

__version__ = "0.1.0"
