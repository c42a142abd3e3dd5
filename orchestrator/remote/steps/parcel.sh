#!/bin/sh
# Receives a folder from the client.   parcel.sh check|apply NAME DIGEST DEST
# It is requested only if the digest differs, and then only the contents that this host lacks (parcel.py).
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 name=$2 digest=$3 dest="$STRATUS_ROOT/$4"
mark="$STRATUS_ROOT/state/parcel-$name"

user() { # PATH: prints a run in progress whose working directory links to that data
    for pid in "$STRATUS_ROOT"/runs/*/state/*.pid; do
        run=${pid%/state/*}
        [ -s "$pid" ] && [ ! -e "${pid%.pid}.rc" ] && kill -0 "$(cat "$pid")" 2>/dev/null &&
            grep -qF -- "\"$1=" "$run/job.json" && echo "${run##*/}" && return
    done
    return 1
}

case $mode in
check)
    [ "$(cat "$mark" 2>/dev/null)" = "$digest" ] && [ -d "$dest" ]
    ;;
apply)
    python=$(command -v python3) || fail "no python3 on this VM, which uploads need" "use an image that has it"
    # The system's own, before one of an environment or a version manager, which start slowly.
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    # A run follows its links: it would read old and new files.
    if [ -d "$dest" ] && run=$(user "$4"); then
        fail "the data has changed, but $run, which goes on, reads the data on this VM" "wait until that run has ended, or cancel it, or use a copy of the data in a folder of another name"
    fi
    # Before the folder changes: between the two, the old digest would stand for a new folder.
    rm -f "$mark"
    "$python" -I -S -X utf8 "$STRATUS_BUNDLE/parcel.py" "$name" "$dest" && printf '%s\n' "$digest" >"$mark"
    ;;
esac
