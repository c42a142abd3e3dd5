#!/bin/sh
# Ends this host's main task because the run has failed elsewhere; its exit status is recorded as usual.
#   end_main.sh FOLDER REASON
set -u
folder=$1 state="$1/state/main"
[ -e "$state.rc" ] && exit 0
printf 'stratus: %s\n' "$2" >>"$folder/log/main.log"
leader=$(cat "$state.pid") || exit 0
for signal in TERM KILL; do
    for pid in $(ps -o pid= -s "$leader"); do
        # The shell around the task stays: it waits for the task, records its exit status and cleans up.
        [ "$pid" = "$leader" ] || kill "-$signal" "$pid" 2>/dev/null
    done
    tries=0
    while [ ! -e "$state.rc" ] && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    [ -e "$state.rc" ] && exit 0
done
