#!/bin/sh
# Installs the job's Python packages.   requirements.sh check|apply VENV DIGEST FILE [PIP-OPTION...]
# FILE is in the bundle. DIGEST covers its text and the options, so that any change installs again.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 venv="$STRATUS_ROOT/venvs/$2" digest=$3 file="$STRATUS_BUNDLE/$4"
shift 4
mark="$venv/.stratus-requirements"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

case $mode in
check)
    [ "$(cat "$mark" 2>/dev/null)" = "$digest" ]
    ;;
apply)
    rm -f "$mark"
    if [ -s "$STRATUS_BUNDLE/ca.pem" ]; then
        cp "$STRATUS_BUNDLE/ca.pem" "$STRATUS_ROOT/state/ca.pem"
        export PIP_CERT="$STRATUS_ROOT/state/ca.pem"
    fi
    if grep -q '^[[:space:]]*[^#[:space:]]' "$file"; then
        # --no-compile: bytecode is compiled at the first import, of imported modules only.
        if ! keep pip install --no-input --no-compile --progress-bar off "$@" -r "$file"; then
            full && no_room "$venv" "the packages of the job" 0
            exit 1
        fi
    fi
    pip freeze >"$venv/.stratus-versions" 2>/dev/null
    printf '%s\n' "$digest" >"$mark"
    ;;
esac
