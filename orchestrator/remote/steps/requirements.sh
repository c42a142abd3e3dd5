#!/bin/sh
# Installs the job's Python packages.   requirements.sh check|apply VENV DIGEST FILE [PIP-OPTION...]
# FILE is in the bundle. DIGEST covers its text and the options, so that any change installs again.
# uv installs them where it can stand in for pip, else pip. Both keep what they downloaded in the home folder.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 venv="$STRATUS_ROOT/venvs/$2" digest=$3 file="$STRATUS_BUNDLE/$4"
shift 4
mark="$venv/.stratus-requirements"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

find_uv() { # sets uv: of the host, or brought once with pip
    # With packages of another interpreter, which uv does not see, or of conda: pip knows them.
    case $(cat "$venv/.stratus-python" 2>/dev/null) in *" yes" | conda*) return 1 ;; esac
    present_uv && return
    [ "${STRATUS_UV:-yes}" = yes ] && [ ! -e "$tools/no-uv" ] || return 1
    uv="$tools/bin/uv"
    say "bringing uv, which installs packages faster than pip"
    wheel=$(timeout 20 "$venv/bin/python" "$STRATUS_BUNDLE/uv_install.py" --wheel "$@" 2>/dev/null)
    for source in ${wheel:+"$wheel"} uv; do
        timeout 90 "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-input --no-compile \
            --retries 1 --no-deps "$@" --target "$tools" "$source" && [ -x "$uv" ] && return
    done
    # A host without a way to it does not try at every install.
    mkdir -p "$tools" && : >"$tools/no-uv"
    return 1
}

install_packages() { # PIP-OPTION...
    if find_uv "$@"; then
        keep "$venv/bin/python" "$STRATUS_BUNDLE/uv_install.py" "$uv" "$file" "$@" && return
        full && return 1
        # Whatever uv does not know or finds wrong, pip decides.
        echo "uv did not install them: pip does"
    fi
    # --no-compile: bytecode is compiled at the first import, of imported modules only.
    keep pip install --no-input --no-compile --progress-bar off "$@" -r "$file"
}

versions() { # all packages; without those of the environment itself, as pip lists them
    case $(cat "$venv/.stratus-python" 2>/dev/null) in
    *" yes" | conda*) ;;
    *) present_uv && listed=$("$uv" pip freeze --python "$venv/bin/python") && printf '%s\n' "$listed" |
        sed -E '/^((pip|setuptools|wheel)==.*)?$/d' && return ;;
    esac
    pip freeze
}

older_python() { # fails with one line if pip left out the requested version of a package, which needs a newer Python
    pinned=$(sed -n 's/.*satisfies the requirement [^ ]*==\([^ ,;]*\) .*/\1/p' "$kept" | head -n 1)
    minor=$(grep 'Ignored the following versions that require a different python' "$kept" | tr ';' '\n' |
        sed -n 's/.*[ :]\([^ ]*\) Requires-Python >=3\.\([0-9]*\).*/\1 \2/p' |
        awk -v pinned="$pinned" '(pinned == "" || $1 == pinned) && (least == "" || $2 + 0 < least) { least = $2 + 0 } END { print least }')
    [ -n "$minor" ] || return 0
    fail "the packages of the job need Python 3.$minor or newer, and the environment has $("$venv/bin/python" -c 'import platform; print(platform.python_version())')" \
        "set python in job.ini, to python3.12 for example, then InstallDeps() installs that version where the distribution has it"
}

case $mode in
check)
    read -r present 2>/dev/null <"$mark" && [ "$present" = "$digest" ]
    ;;
apply)
    rm -f "$mark"
    if [ -s "$STRATUS_BUNDLE/ca.pem" ]; then
        cp "$STRATUS_BUNDLE/ca.pem" "$STRATUS_ROOT/state/ca.pem"
        export PIP_CERT="$STRATUS_ROOT/state/ca.pem"
    fi
    if grep -q '^[[:space:]]*[^#[:space:]]' "$file"; then
        if ! install_packages "$@"; then
            full && no_room "$venv" "the packages of the job" 0
            older_python
            # Not after a connection that a later attempt made.
            grep -q 'Retry(total=0,\|Max retries exceeded' "$kept" && unreachable &&
                no_way "package index" "the packages of the job"
            exit 1
        fi
    fi
    versions >"$venv/.stratus-versions" 2>/dev/null
    printf '%s\n' "$digest" >"$mark"
    ;;
esac
