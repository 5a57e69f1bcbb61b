#!/bin/sh
# A test that keeps everything there is to know about a run that failed.
#
#   evidence.sh ARCHIVE [OPTIONS OF run ...]
#
# If the guest panics, hangs, or QEMU dies, the archive has QEMU's output, the
# console, every message of the monitor, and how the run ended.
set -eu
archive=$1
shift

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

status=0
qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --name guest --timeout 5m \
    --log-dir "$dir/evidence" --transcript "$dir/evidence/monitor.jsonl" \
    --result "$dir/result.json" "$@" || status=$?

if [ $status -ne 0 ]; then
    # The transcript as text: what was asked and said, and when.
    qemu-machine replay "$dir/evidence/monitor.jsonl" >"$dir/evidence/monitor.txt" || true
    mv "$dir/result.json" "$dir/evidence"
    tar -czf "$archive" -C "$dir" evidence
    echo "failed with status $status; all there is to know is in $archive"
fi
exit $status
