#!/bin/sh
# Runs a test, and keeps the guest's memory if it fails, for gdb or crash.
#
#   crash-dump.sh DUMP [OPTIONS OF run ...]
#
# To dump a guest that panics, QEMU must hold it: give it a pvpanic device, and
# the option `-action panic=pause`, after `--`.
set -eu
dump=$(realpath "$1")
shift

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/notes"

# With --keep-on-failure, a machine whose run failed stays, and a note on standard
# error says so.
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --timeout 5m --keep-on-failure \
    --qmp "$dir/qmp" "$@" 2>"$dir/notes" &
vm=$!
while read -r note; do
    echo "$note" >&2
    case $note in
        *'the machine is kept'*)
            # The dump is complete when the command returns.
            qemu-machine qmp --timeout 5m "$dir/qmp" dump-guest-memory paging=false \
                "protocol=file:$dump" >"$dir/returned"
            echo "the guest's memory is in $dump"
            kill $vm
            ;;
    esac
done <"$dir/notes"
# 0 if the test succeeded; else why it failed.
wait $vm
