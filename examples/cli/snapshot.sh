#!/bin/sh
# Boots a Linux once, and then runs each command in a fresh copy of that guest.
#
#   snapshot.sh KERNEL INITRD PROMPT COMMAND ...
#
# The guest prints PROMPT when its shell is ready. Its state is saved at that
# moment, so no command waits for a boot or sees what another one did.
set -eu
kernel=$1 initrd=$2 prompt=$3
shift 3

dir=$(mktemp -d)
vm=
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2; rm -rf "$dir"' EXIT
# A snapshot lives in a disk, even if the guest does not use it.
qemu-img create -q -f qcow2 "$dir/disk.qcow2" 64M

run() {
    qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --memory 256M --timeout 5m \
        --kernel "$kernel" --initrd "$initrd" --drive "$dir/disk.qcow2" \
        --append 'console=ttyS0 quiet no_timer_check cryptomgr.notests' "$@"
}

vm=$(run --detach --expect "$prompt")
qemu-machine qmp "$vm" -H savevm booted
qemu-machine stop "$vm" >&2
vm=

for command; do
    echo "\$ $command"
    run --exec "$command" -- -loadvm booted || echo "status $?"
done
