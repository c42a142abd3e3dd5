#!/bin/sh
# Prints the runs on this host, oldest first, one task per line.   runs.sh [RUN]
#   @@run RUN ROLE PID-ALIVE(yes|no) RC(-: none yet) STARTED ENDED(-)      @@job RUN JSON (the run's job.json, one line)
set -u

# Prints the content of a file that holds one word; - if it is missing or empty, ? if it holds anything else.
word() {
    content=$(head -c 100 "$1" 2>/dev/null)
    case $content in
    '') echo - ;;
    *[!A-Za-z0-9:.-]*) echo '?' ;;
    *) echo "$content" ;;
    esac
}

for folder in "$HOME"/stratus/runs/${1:-*}/; do
    folder=${folder%/}
    [ -e "$folder/job.json" ] || continue
    run=${folder##*/}
    printf '@@job %s %s\n' "$run" "$(head -c 4194304 "$folder/job.json" | tr -d '\n\000')"
    for cmd in "$folder"/task/*.cmd; do
        role=${cmd##*/}
        role=${role%.cmd}
        state="$folder/state/$role"
        alive=no
        [ -s "$state.pid" ] && [ ! -e "$state.rc" ] && kill -0 "$(cat "$state.pid")" 2>/dev/null && alive=yes
        printf '@@run %s %s %s %s %s %s\n' "$run" "$role" "$alive" "$(word "$state.rc")" \
            "$(word "$state.started")" "$(word "$state.ended")"
    done
done
