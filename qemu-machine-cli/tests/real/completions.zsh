# zsh -f completions.zsh FOLDER LINES: prints what zsh offers for each line of
# the file LINES, in one line each. FOLDER has the completion script.
#
# `vared` edits a variable as zsh edits a command line, so a script can use the
# real completion. It needs a terminal as standard input.
fpath=("${1:a}" $fpath)
autoload -Uz compinit && compinit -u -D
typeset -aU offered

# Every completion function hands its matches to `compadd`.
compadd() {
    local -a matches
    # With these options, it only fills arrays.
    if (( ! ${argv[(I)-(O|A|D)]} )); then
        builtin compadd -O matches "$@"
        offered+=("${matches[@]}")
    fi
    builtin compadd "$@"
}

# `vared` would complete a value, and not a command line.
gather() {
    compstate[vared]=
    _main_complete
    compstate[insert]= compstate[list]=
}
zle -C gather complete-word gather

zle-line-init() {
    zle gather
    zle .accept-line
}
zle -N zle-line-init

while IFS= read -r line <&3; do
    offered=()
    vared line
    print -r -- ${offered//$'\n'/ }
done 3<"$2"
