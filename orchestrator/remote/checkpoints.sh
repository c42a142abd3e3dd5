#!/bin/sh
# Saves the checkpoints of a run to S3, or restores them.   checkpoints.sh FOLDER VENV restore|save|final|loop
# FOLDER/checkpoints describes their place; without it there is nothing to do. "loop" saves every FOLDER/checkpoints.every
# seconds as long as the run has a task here, and once more when all have ended.
set -u
folder=$1 venv=$2 mode=$3
[ -s "$folder/checkpoints" ] || exit 0
log="$folder/log/checkpoints.log"

call() { # MODE: one at a time; the end of a run and a spot notice may come together
    (
        exec 9>"$folder/checkpoints.lock"
        flock 9
        exec "$venv/bin/python" "$folder/bin/checkpoints.py" "$1" "$folder" 9>&-
    )
}

is_running() {
    for cmd in "$folder"/task/*.cmd; do
        role=${cmd##*/}
        state="$folder/state/${role%.cmd}"
        [ -e "$state.rc" ] || { [ -s "$state.pid" ] && ! kill -0 "$(cat "$state.pid")" 2>/dev/null; } || return 0
    done
    return 1
}

case $mode in
restore) call restore 2>&1 ;;
loop)
    every=$(cat "$folder/checkpoints.every")
    case $every in '' | *[!0-9]*) exit 64 ;; esac
    waited=0
    while is_running; do
        sleep 2
        waited=$((waited + 2))
        [ "$waited" -lt "$every" ] || { waited=0 && call save >>"$log" 2>&1; }
    done
    call final >>"$log" 2>&1
    ;;
*) call "$mode" >>"$log" 2>&1 ;;
esac
