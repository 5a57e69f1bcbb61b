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

vm=
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2' EXIT

vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 60 \
    --drive "file=$disk,format=qcow2,if=virtio,id=disk0")

io() { qemu-machine qmp "$vm" -H "qemu-io disk0 \"$1\""; }
io 'write -P 42 0 1M'
io flush
io 'write -P 43 2M 1M'

qemu-machine kill "$vm" >&2
vm=

# Lost clusters (status 3) are no damage; anything else is.
qemu-img check -q "$disk" || [ $? -eq 3 ]
qemu-io -f qcow2 -c 'read -P 42 0 1M' "$disk" >&2
echo "what was flushed is there"
