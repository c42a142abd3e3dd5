#!/bin/sh
# Moves what parcel.sh has received to its place.   place.sh check|apply RECEIVED TARGET file|folder
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
python=$(command -v python3) || fail "no python3 on this VM, which uploads need" "use an image that has it"
exec "$python" -I -S -B -X utf8 "$STRATUS_BUNDLE/place.py" "$1" "$STRATUS_ROOT/$2" "$3" "$4"
