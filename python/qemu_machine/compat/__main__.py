"""``python -m qemu_machine.compat`` prints the folder for ``PYTHONPATH``."""

from qemu_machine.compat import directory

print(directory())
