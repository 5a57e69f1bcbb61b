# fish completions.fish LINES: prints what fish offers for each line of the file
# LINES, in one line each.
source ./qemu-machine.fish
while read --line line
    # After a tab comes the description.
    echo (complete -C $line | string replace --regex '\t.*' '')
end <$argv[1]
