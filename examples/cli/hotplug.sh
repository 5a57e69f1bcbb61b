#!/bin/sh
# Plugs a USB stick into a machine that runs, and pulls it out again.
#
#   hotplug.sh IMAGE
#
# IMAGE is a raw image, the content of the stick.
set -eu
image=$(realpath "$1")

dir=$(mktemp -d)
vm=
mkfifo "$dir/notes"
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2; rm -rf "$dir"' EXIT

vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 60 \
    -- -device qemu-xhci)
qmp() { qemu-machine qmp "$vm" "$@" >"$dir/returned"; }

qmp blockdev-add driver=raw node-name=content file.driver=file "file.filename=$image"
qmp device_add driver=usb-storage id=stick drive=content
echo "plugged in:"
qemu-machine qmp "$vm" -H info usb

# device_del only asks the guest to let go of the device; the event says that it
# is gone. The listener comes first, so it cannot miss the event.
qemu-machine events "$vm" 'DEVICE_DELETED{"device":"stick"}' \
    --count 1 --for 30 >"$dir/end" 2>"$dir/notes" &
listener=$!
read -r line <"$dir/notes"
qmp device_del id=stick
wait $listener
qmp blockdev-del node-name=content
echo "pulled out"
