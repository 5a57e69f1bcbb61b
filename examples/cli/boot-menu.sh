#!/bin/sh
# Opens the boot menu of the BIOS, and takes a picture of it.
#
#   boot-menu.sh PICTURE
#
# The picture is a PNG if its name ends in .png, and else a PPM.
set -eu
picture=$1

vm=
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2' EXIT

# With graphics=off, the BIOS uses the console as well as the display. It offers
# the menu for ten seconds here, and Escape opens it. The run is in the background
# once the menu is there.
vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 60 \
    --machine pc,graphics=off --expect 'boot menu' --send '\e' \
    --expect 'Select boot device' -- -device VGA -boot menu=on,splash-time=10000)
qemu-machine screenshot "$vm" "$picture"
echo "the menu is in $picture"
