#!/bin/sh
# Runs each command in a machine of its own that is ready before it is needed.
#
#   pool.sh TEMPLATE COMMAND ...
#
# Make the template before: `qemu-machine template make TEMPLATE ...`. While a
# command runs, the pool makes the next machine ready.
set -eu
template=$1
shift

# The owner of the pool stays in the background. Nothing is left after its end.
pool=$(qemu-machine pool start "$template" --size 2 --name "pool-$$" --detach --exec true)
trap 'qemu-machine pool stop "$pool" >/dev/null' EXIT
trap 'exit 130' INT TERM HUP

# A machine is handed out once: no other script gets it.
status=0
for command; do
    machine=$(qemu-machine pool take "$pool")
    echo "\$ $command"
    qemu-machine exec "$machine" -- sh -c "$command" || {
        echo "failed with status $?"
        status=1
    }
    qemu-machine kill "$machine" >/dev/null
done
exit "$status"
