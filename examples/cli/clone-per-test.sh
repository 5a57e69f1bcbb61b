#!/bin/sh
# Boots a Linux once, and runs each command in a fresh clone of it.
#
#   clone-per-test.sh KERNEL INITRD PROMPT COMMAND ...
#
# The guest prints PROMPT when its shell is ready. The template stays in the
# store, so the next call boots nothing.
set -eu
kernel=$1 initrd=$2 prompt=$3
shift 3

# The same QEMU, files, options and steps are the same template.
template=$(qemu-machine template make clone-per-test --qemu "${QEMU:-qemu-system-x86_64}" \
    --memory 256M --kernel "$kernel" --initrd "$initrd" --timeout 5m --expect "$prompt" \
    --append 'console=ttyS0 quiet no_timer_check cryptomgr.notests')

# A clone has what was in memory, and no clone sees what another one did.
status=0
for command; do
    echo "\$ $command"
    qemu-machine clone "$template" --timeout 5m --exec "$command" || {
        echo "failed with status $?"
        status=1
    }
done
exit "$status"
