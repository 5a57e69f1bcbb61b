#!/bin/sh
# Copies the disk of a machine that runs, with its progress.
#
#   backup.sh DISK BACKUP
#
# DISK is a raw image. The backup has the disk's state of the moment in which
# the job starts. Writes of the guest go on.
set -eu
disk=$(realpath "$1") backup=$(realpath "$2")

dir=$(mktemp -d)
vm=
mkfifo "$dir/notes"
trap '[ -z "$vm" ] || qemu-machine stop "$vm" >&2; rm -rf "$dir"' EXIT

# The machine stays in the background, and verbs find it by its name.
vm=$(qemu-machine run --detach --qemu "${QEMU:-qemu-system-x86_64}" --timeout 10m \
    --drive "file=$disk,format=raw,if=virtio,id=disk0")

# The listener comes first, so it cannot miss the end. Its first line on standard
# error says that it listens.
qemu-machine events "$vm" 'JOB_STATUS_CHANGE{"id":"backup","status":"concluded"}' \
    --count 1 --for 10m >"$dir/end" 2>"$dir/notes" &
listener=$!
read -r line <"$dir/notes"

# An existing target is overwritten; QEMU makes a missing one.
qemu-machine qmp "$vm" drive-backup job-id=backup device=disk0 "target=$backup" \
    format=raw sync=full auto-dismiss=false >"$dir/returned"

progress() {
    qemu-machine qmp --json "$vm" query-jobs |
        sed 's/.*"current-progress":\([0-9]*\).*"total-progress":\([0-9]*\).*/\1 of \2 bytes/'
}
# QEMU has no event for the progress, so this asks twice a second.
while kill -0 $listener 2>"$dir/kill"; do
    progress
    sleep 0.5 &
    wait $!
done
wait $listener
progress

# A job that failed says why, until it is dismissed.
jobs=$(qemu-machine qmp --json "$vm" query-jobs)
qemu-machine qmp "$vm" job-dismiss id=backup >"$dir/returned"
case $jobs in
    *'"error"'*) echo "$jobs" >&2 && exit 1 ;;
esac
echo "the backup is complete"
