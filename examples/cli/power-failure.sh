#!/bin/sh
# Pulls the plug while a disk is written, and looks at what is left of it.
#
#   power-failure.sh DISK
#
# DISK is a new qcow2 image. What was flushed must be there afterwards. Here QEMU
# itself writes; a guest that writes is the same.
set -eu
disk=$(realpath "$1")
qemu-img create -q -f qcow2 "$disk" 64M

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT

# With graphics=off, the BIOS uses the console. Its first line says that QEMU is
# there.
mkfifo "$dir/console"
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --machine pc,graphics=off \
    --drive "file=$disk,format=qcow2,if=virtio,id=disk0" \
    --qmp "$dir/qmp" --timeout 60 --console --stay >"$dir/console" &
vm=$!
exec 3<"$dir/console"
read -r line <&3

io() { qemu-machine qmp "$dir/qmp" -H "qemu-io disk0 \"$1\""; }
io 'write -P 42 0 1M'
io flush
io 'write -P 43 2M 1M'

# The run ends with the status of the signal that killed its QEMU.
kill -KILL "$(pgrep -P $vm qemu-system)"
status=0
wait $vm || status=$?
echo "the run ended with status $status"

# Lost clusters (status 3) are no damage; anything else is.
qemu-img check -q "$disk" || [ $? -eq 3 ]
qemu-io -f qcow2 -c 'read -P 42 0 1M' "$disk" >"$dir/read"
echo "what was flushed is there"
