#!/bin/sh
# Makes the disk of a running machine larger; the guest need not stop.
#
#   resize-disk.sh DISK BYTES
#
# DISK is a qcow2 image. The guest sees the new size at once, and can then grow
# its partition and file system.
set -eu
disk=$(realpath "$1") bytes=$2

vm=
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2' EXIT

vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 60 \
    --drive "file=$disk,format=qcow2,if=virtio,id=disk0")

size() {
    qemu-machine qmp --json "$vm" query-block |
        sed 's/.*"virtual-size":\([0-9]*\).*/\1/'
}
echo "before: $(size)"
qemu-machine qmp "$vm" block_resize device=disk0 "size=$bytes" >&2
echo "after: $(size)"
