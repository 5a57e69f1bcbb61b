#!/bin/sh
# Boots many disk images, some at once, and prints a summary.
#
#   many-images.sh TEXT IMAGE ...
#
# A good image prints TEXT on the serial port. JOBS is how many run at once.
set -eu
text=$1
shift

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Each run writes how it ended: what the status alone cannot say.
try='
    qemu-machine run --qemu "$1" --memory 64M --drive "$4" --name "$4" \
        --timeout 60 --step-timeout "$5" --expect "$2" --result "$3/$(basename "$4").json" \
        -- -no-reboot -snapshot 2>>"$3/errors"
    echo "$? $4" >>"$3/statuses"'
# Whatever a run does, the others go on.
printf '%s\0' "$@" | xargs -0 -P "${JOBS:-$(nproc)}" -I IMAGE \
    sh -c "$try" try "${QEMU:-qemu-system-x86_64}" "$text" "$dir" IMAGE "${SECONDS_EACH:-30}"

# The summary: a line for each image, and the count of each end.
sort -k 2 "$dir/statuses" | while read -r status image; do
    ended=$(sed -n 's/^  "ended": "\(.*\)",*$/\1/p' "$dir/$(basename "$image").json")
    echo "$ended (status $status): $image"
done
[ ! -s "$dir/errors" ] || cat "$dir/errors" >&2
failed=$(grep --count --invert-match '^0 ' "$dir/statuses" || true)
echo "$failed of $# failed"
[ "$failed" -eq 0 ]
