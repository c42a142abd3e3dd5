#!/bin/sh
# Receives a folder from the client.   parcel.sh check|apply NAME DIGEST DEST
# It is requested (@@want) only if the digest differs, and arrives as a compressed tar in chunks, each a line with its
# length and then that many bytes; length 0 ends it.
set -u
mode=$1 name=$2 digest=$3 dest="$STRATUS_ROOT/$4"
mark="$STRATUS_ROOT/state/parcel-$name"

case $mode in
check)
    [ "$(cat "$mark" 2>/dev/null)" = "$digest" ] && [ -d "$dest" ]
    ;;
apply)
    rm -rf "$dest.new"
    mkdir -p "$dest.new" || exit 1
    echo "@@want $name"
    while IFS= read -r size && [ "$size" -gt 0 ]; do head -c "$size"; done | tar -xzf - -C "$dest.new" || exit 1
    # Renamed when complete: a broken transfer never leaves a partial folder under the real name.
    rm -rf "$dest" && mv "$dest.new" "$dest" && printf '%s\n' "$digest" >"$mark"
    ;;
esac
