#!/bin/sh
# Finds the commit that broke the boot, by `git bisect`.
#
#   bisect.sh GOOD BAD FIRMWARE TEXT [BUILD COMMAND ...]
#
# Run it in the repository. GOOD and BAD are commits. At each commit, the build
# command makes the file FIRMWARE. A good firmware prints TEXT on the console.
# For a kernel, give --kernel and --append in place of the last line of QEMU's
# arguments.
set -eu
good=$1 bad=$2
shift 2

# git reads the status: 0 is good, 125 skips the commit, 1 to 124 are bad.
try='
    qemu=$1 firmware=$2 text=$3
    shift 3
    "$@" || exit 125
    # With -no-reboot, a guest that crashes ends the run at once.
    qemu-machine run --qemu "$qemu" --timeout 60 --expect "$text" \
        -- -nodefaults -no-reboot -bios "$firmware"
    case $? in
        0) exit 0 ;;
        1 | 124) exit 1 ;;   # the guest failed, or printed something else
        *) exit 125 ;;       # it was not the fault of the commit
    esac'

git bisect start "$bad" "$good"
trap 'git bisect reset' EXIT
[ $# -gt 2 ] || set -- "$@" true
git bisect run sh -c "$try" try "${QEMU:-qemu-system-x86_64}" "$@"
