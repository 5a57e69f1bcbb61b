#!/bin/sh
# Runs the tests of a list, and prints a report in JUnit's format for a CI.
#
#   ci-junit.sh LIST >report.xml
#
# Each line of the list is a test: its name, and the options of its run. Lines
# are read as the shell reads words, so quotes work:
#
#   boots       --expect '> '
#   says-hello  --expect '> ' --send 'echo hi\n' --expect hi
set -eu
list=$1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

escaped() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }
# One member of the result; it has one in each line.
member() { sed -n "s/^  *\"$1\": \"*\(.*[^\",]\)\"*,*\$/\1/p" "$dir/result" | escaped; }

tests=0 failures=0
while read -r name options; do
    [ -n "$name" ] || continue
    tests=$((tests + 1))
    rm -f "$dir/result"
    eval "set -- $options"
    status=0
    qemu-machine run --qemu "${QEMU:-qemu-system-x86_64}" --timeout 60 \
        --result "$dir/result" "$@" </dev/null 2>"$dir/errors" || status=$?
    seconds=$(member uptime_seconds)
    echo "  <testcase name=\"$name\" time=\"${seconds:-0}\">"
    if [ $status -ne 0 ]; then
        failures=$((failures + 1))
        # The end tells a guest that panicked from a run that was late, and so on.
        echo "    <failure type=\"$(member ended)\">$(escaped <"$dir/errors")</failure>"
    fi
    echo "  </testcase>"
done <"$list" >"$dir/cases"

echo '<?xml version="1.0" encoding="UTF-8"?>'
echo "<testsuite name=\"guests\" tests=\"$tests\" failures=\"$failures\">"
cat "$dir/cases"
echo '</testsuite>'
[ $failures -eq 0 ]
