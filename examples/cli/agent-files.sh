#!/bin/sh
# Gives a file to a guest, has a program work on it there, and gets the result.
#
#   agent-files.sh KERNEL INITRD FILE
#
# Prints the sorted lines of FILE. The guest needs the QEMU guest agent, and no
# network.
set -eu
kernel=$1 initrd=$2 file=$3

vm=
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2' EXIT

vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 5m --agent \
    --kernel "$kernel" --initrd "$initrd" --memory 256M \
    --append 'console=ttyS0 no_timer_check')

# The first verb waits until the agent is up.
qemu-machine agent --timeout 2m "$vm" write /tmp-in "$file"
qemu-machine agent "$vm" exec -- /bin/sh -c 'busybox sort /tmp-in >/tmp-out'
qemu-machine agent "$vm" read /tmp-out
