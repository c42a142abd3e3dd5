#!/bin/sh
# Copies a prefix of S3, with the VM's own role.   s3.sh check|apply VENV URL DEST [OPTION...]
set -u
mode=$1 python="$STRATUS_ROOT/venvs/$2/bin/python" url=$3 dest="$STRATUS_ROOT/$4"
shift 4
[ -x "$python" ] || exit 1
exec "$python" "$STRATUS_BUNDLE/stage.py" "$mode" "$url" "$dest" "$@"
