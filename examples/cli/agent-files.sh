#!/bin/sh
# Gives a file to a guest, has a program work on it there, and gets the result.
#
#   agent-files.sh KERNEL INITRD FILE
#
# Prints the sorted lines of FILE. The guest needs the QEMU guest agent, and no
# network.
set -eu
kernel=$1 initrd=$2 file=$3

dir=$(mktemp -d)
vm=
trap 'kill $vm 2>"$dir/kill" || true; wait; rm -rf "$dir"' EXIT
mkfifo "$dir/console"

# QEMU has made its sockets before the guest prints anything.
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --memory 256M --timeout 5m \
    --kernel "$kernel" --initrd "$initrd" \
    --append 'console=ttyS0 no_timer_check' --console --stay \
    -- -device virtio-serial \
    -chardev "socket,id=agent,path=$dir/agent,server=on,wait=off" \
    -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 >"$dir/console" &
vm=$!
exec 3<"$dir/console"
read -r line <&3
# Nobody reads the console from here on.
cat <&3 >"$dir/log" &

# The first verb waits until the agent is up.
qemu-machine agent --timeout 2m "$dir/agent" write /tmp-in "$file"
qemu-machine agent "$dir/agent" exec -- /bin/sh -c 'busybox sort /tmp-in >/tmp-out'
qemu-machine agent "$dir/agent" read /tmp-out
qemu-machine agent "$dir/agent" shutdown
wait $vm
