# The start-up file of an interactive bash. For a line that is typed, Escape and
# * insert everything that bash offers. Ctrl-T appends the line to the file
# ANSWERS, and empties it.
bind 'set enable-bracketed-paste off'
bind -x '"\C-t": printf "%s\n" "$READLINE_LINE" >>answers; READLINE_LINE=; echo; echo answered'
source ./qemu-machine.bash
PS1='answered '
