#!/bin/sh
# Runs all steps of one host, in one round trip.
#
#   sh install.sh BUNDLE        with the upload channel on standard input
#
# BUNDLE/plan holds one step per line: NAME SCRIPT ARGUMENT..., quoted for the shell. Every step script is called as
# "SCRIPT check ARGUMENT..." and, if that fails, as "SCRIPT apply ARGUMENT...". Lines that start with @@ are for the
# caller, all others are the log:
#   @@step NAME start|unchanged|done|failed MILLISECONDS    @@want NAME (send that upload)    @@beat (heartbeat)
set -u
bundle=$1
export STRATUS_BUNDLE="$bundle" STRATUS_ROOT="$HOME/stratus"
mkdir -p "$STRATUS_ROOT/state" || exit 73
exec 3<&0 </dev/null 2>&1

# One installation at a time: a second one would find incomplete environments.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$STRATUS_ROOT/state/install.lock"
    flock -n 9 || { echo "another install is running here: waiting for it"; flock -w 900 9 || { echo "it did not end in 15 minutes"; exit 75; }; }
fi

( while sleep 5 >/dev/null 2>&1; do echo "@@beat"; done ) 9>&- 3<&- &
beat=$!
trap 'kill "$beat" 2>/dev/null; rm -rf "$bundle"' EXIT
trap 'exit 143' HUP INT TERM

now() { date +%s%3N; }

while IFS= read -r line <&4; do
    eval "set -- $line"
    name=$1 script=$2
    shift 2
    began=$(now)
    echo "@@step $name start 0"
    if sh "$bundle/steps/$script" check "$@" 9>&-; then
        echo "@@step $name unchanged $(($(now) - began))"
    elif sh "$bundle/steps/$script" apply "$@" <&3 9>&- && sh "$bundle/steps/$script" check "$@" 9>&-; then
        echo "@@step $name done $(($(now) - began))"
    else
        echo "@@step $name failed $(($(now) - began))"
        exit 1
    fi
done 4<"$bundle/plan"
exit 0
