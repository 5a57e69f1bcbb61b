#!/bin/sh
# Builds the image: build.sh OUT
# AS, LD and OBJCOPY name the tools, if those of the system are not for x86:
# AS=x86_64-linux-gnu-as LD=x86_64-linux-gnu-ld OBJCOPY=x86_64-linux-gnu-objcopy
set -eu

out=${1:?usage: build.sh OUT}
src=$(dirname "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"${AS:-as}" --32 -o "$tmp/tiny.o" "$src/tiny.S"
"${LD:-ld}" -m elf_i386 -T "$src/tiny.ld" --build-id=none -o "$tmp/tiny.elf" "$tmp/tiny.o"
"${OBJCOPY:-objcopy}" -O binary -j .text "$tmp/tiny.elf" "$out"
chmod -x "$out"         # objcopy makes it as executable as its input
