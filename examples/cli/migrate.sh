#!/bin/sh
# Moves a running Linux from one QEMU to another, and sees that it goes on.
#
#   migrate.sh KERNEL INITRD PROMPT
#
# The guest prints PROMPT when its shell is ready. For another host, give
# tcp:0:4444 to the target, and tcp:HOST:4444 to `migrate`.
set -eu
kernel=$1 initrd=$2 prompt=$3

dir=$(mktemp -d)
source='' target=''
trap '[ -z "$source" ] || qemu-machine stop "$source" >&2
      kill $target 2>"$dir/kill" || true
      wait; rm -rf "$dir"' EXIT
mkfifo "$dir/notes"

# Both must be the same machine. With exec, a signal to the job is one to the run.
run() {
    exec qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --memory 256M --timeout 5m \
        --kernel "$kernel" --initrd "$initrd" \
        --append 'console=ttyS0 quiet no_timer_check' "$@"
}

# The source counts on its console, in the background.
source=$(run --detach --expect "$prompt" \
    --send 'i=0; while :; do echo count-$i; i=$((i + 1)); sleep 1; done\n' \
    --expect-regex '\ncount-1')

# The target waits for the guest, and then for its counting.
run --expect-regex '\ncount-[0-9]+' -- -incoming "unix:$dir/guest" &
target=$!

# The listener comes first, so it cannot miss the end.
qemu-machine qmp "$source" migrate-set-capabilities \
    '{"capabilities": [{"capability": "events", "state": true}]}' >"$dir/returned"
qemu-machine events "$source" 'MIGRATION{"status":"completed"}' \
    --count 1 --for 60 >"$dir/end" 2>"$dir/notes" &
listener=$!
read -r line <"$dir/notes"

# The target makes its socket when it starts.
while [ ! -S "$dir/guest" ]; do
    kill -0 $target
    sleep 0.1
done
qemu-machine qmp "$source" migrate "uri=unix:$dir/guest" >"$dir/returned"
wait $listener
echo "the guest has moved"
wait $target
echo "the guest counts on the target"
