#!/bin/sh
# Runs the user's own command at the end of a run, if the run has one.   notify.sh FOLDER done|failed|timeout
# Its output goes to log/notify.log. A command that hangs is ended: it must not outlive the run for long.
folder=$1
[ -s "$folder/notify" ] || exit 0
STRATUS_RUN=${folder##*/} STRATUS_STATE=$2
export STRATUS_RUN STRATUS_STATE
cd "$folder/workdir" || exit 73
timeout -k 5 60 sh "$folder/notify" </dev/null >>"$folder/log/notify.log" 2>&1
