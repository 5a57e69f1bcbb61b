#!/bin/sh
# Opens the boot menu of the BIOS, and takes a picture of it.
#
#   boot-menu.sh PICTURE
#
# The picture is a PNG if its name ends in .png, and else a PPM.
set -eu
picture=$1

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/console"

# With graphics=off, the BIOS uses the console as well as the display. It offers
# the menu for ten seconds here, and Escape opens it.
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --machine pc,graphics=off \
    --qmp "$dir/qmp" --timeout 60 --console \
    --expect 'boot menu' --send '\e' --stay \
    -- -device VGA -boot menu=on,splash-time=10000 >"$dir/console" &
vm=$!

exec 3<"$dir/console"
grep --text --max-count 1 'Select boot device' <&3
qemu-machine screenshot "$dir/qmp" "$picture"
echo "the menu is in $picture"
