#!/bin/sh
# Makes the disk of a running machine larger; the guest need not stop.
#
#   resize-disk.sh DISK BYTES
#
# DISK is a qcow2 image. The guest sees the new size at once, and can then grow
# its partition and file system.
set -eu
disk=$(realpath "$1") bytes=$2

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/console"

# With graphics=off, the BIOS uses the console. Its first line says that QEMU is
# there.
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --machine pc,graphics=off \
    --drive "file=$disk,format=qcow2,if=virtio,id=disk0" \
    --qmp "$dir/qmp" --timeout 60 --console --stay >"$dir/console" &
vm=$!
exec 3<"$dir/console"
read -r line <&3

size() {
    qemu-machine qmp --json "$dir/qmp" query-block |
        sed 's/.*"virtual-size":\([0-9]*\).*/\1/'
}
echo "before: $(size)"
qemu-machine qmp "$dir/qmp" block_resize device=disk0 "size=$bytes" >"$dir/returned"
echo "after: $(size)"
