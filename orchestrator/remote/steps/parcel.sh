#!/bin/sh
# Receives a folder from the client.   parcel.sh check|apply NAME DIGEST DEST
# It is requested only if the digest differs, and then only the contents that this host lacks (parcel.py).
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 name=$2 digest=$3 dest="$STRATUS_ROOT/$4"
mark="$STRATUS_ROOT/state/parcel-$name"

case $mode in
check)
    [ "$(cat "$mark" 2>/dev/null)" = "$digest" ] && [ -d "$dest" ]
    ;;
apply)
    python=$(command -v python3) || fail "no python3 on this VM, which uploads need" "use an image that has it"
    # The system's own, before one of an environment or a version manager, which start slowly.
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    # Before the folder changes: between the two, the old digest would stand for a new folder.
    rm -f "$mark"
    "$python" -I -S -X utf8 "$STRATUS_BUNDLE/parcel.py" "$name" "$dest" && printf '%s\n' "$digest" >"$mark"
    ;;
esac
