#!/bin/sh
# Boots a firmware on several machine types, and says where it fails.
#
#   firmware-smoke.sh FIRMWARE TEXT [MACHINE TYPE ...]
#
# A firmware that works prints TEXT on its serial port.
set -eu
firmware=$1 text=$2
shift 2
[ $# -gt 0 ] || set -- pc q35 microvm

failed=0
for machine; do
    if qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --machine "$machine" \
        --timeout 60 --expect "$text" -- -nodefaults -bios "$firmware"
    then
        echo "$machine: ok"
    else
        # The reason is on standard error already.
        echo "$machine: failed with status $?"
        failed=1
    fi
done
exit $failed
