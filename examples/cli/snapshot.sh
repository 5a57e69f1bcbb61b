#!/bin/sh
# Boots a Linux once, and then runs each command in a fresh copy of that guest.
#
#   snapshot.sh KERNEL INITRD PROMPT COMMAND ...
#
# The guest prints PROMPT when its shell is ready. Its state is saved at that
# moment, so no command waits for a boot or sees what another one did.
set -eu
kernel=$1 initrd=$2 prompt=$3
shift 3

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/console"
# A snapshot lives in a disk, even if the guest does not use it.
qemu-img create -q -f qcow2 "$dir/disk.qcow2" 64M

# With exec, a signal to the job is one to the run.
run() {
    exec qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --memory 256M --timeout 5m \
        --kernel "$kernel" --initrd "$initrd" --drive "$dir/disk.qcow2" \
        --append 'console=ttyS0 quiet no_timer_check cryptomgr.notests' "$@"
}

run --qmp "$dir/qmp" --console --stay >"$dir/console" &
vm=$!
exec 3<"$dir/console"
grep --text --max-count 1 --quiet "$prompt" <&3
qemu-machine qmp "$dir/qmp" -H savevm booted
qemu-machine qmp "$dir/qmp" quit >"$dir/returned"
wait $vm

for command; do
    echo "\$ $command"
    (run --exec "$command" -- -loadvm booted) || echo "status $?"
done
