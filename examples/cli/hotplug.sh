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
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/console" "$dir/notes"

# With graphics=off, the BIOS uses the console. Its first line says that QEMU is
# there.
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --machine pc,graphics=off \
    --qmp "$dir/qmp" --qmp "$dir/events" --timeout 60 --console --stay \
    -- -device qemu-xhci >"$dir/console" &
vm=$!
exec 3<"$dir/console"
read -r line <&3
qmp() { qemu-machine qmp "$dir/qmp" "$@" >"$dir/returned"; }

qmp blockdev-add driver=raw node-name=content file.driver=file "file.filename=$image"
qmp device_add driver=usb-storage id=stick drive=content
echo "plugged in:"
qemu-machine qmp "$dir/qmp" -H info usb

# device_del only asks the guest to let go of the device; the event says that it
# is gone. The listener comes first, so it cannot miss the event.
qemu-machine events "$dir/events" 'DEVICE_DELETED{"device":"stick"}' \
    --count 1 --for 30 >"$dir/end" 2>"$dir/notes" &
listener=$!
read -r line <"$dir/notes"
qmp device_del id=stick
wait $listener
qmp blockdev-del node-name=content
echo "pulled out"
