# Sourced by commands in scripts/: a virtual environment in .venv with this checkout installed in it.
#
#   . scripts/lib/setup.sh
#   setup EXTRA[,EXTRA...]      e.g. setup local; does nothing if nothing has changed since the last time
#
# PYTHON names the interpreter that creates .venv (3.11 or newer). Writes inside the checkout only.

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11" >&2
    return 2
}

setup() {
    if [ ! -x .venv/bin/python ]; then
        base=$(find_python) || return 2
        echo "creating .venv with $base" >&2
        "$base" -m venv .venv || {
            echo "could not create .venv (on Debian and Ubuntu: apt install python3-venv)" >&2
            return 2
        }
    fi
    # .installed holds a checksum of the files that decide the packages, then the extras.
    sum=$(cat setup.py pyproject.toml examples/cloud_retrieval/requirements.txt | cksum | tr ' ' -)
    installed=$(cat .venv/.installed 2>/dev/null || true)
    case "$installed" in "$sum "*) extras=${installed#* } ;; *) extras= ;; esac
    missing=
    for extra in $(echo "$1" | tr , ' '); do
        case ",$extras," in *",$extra,"*) ;; *) missing="$missing,$extra" ;; esac
    done
    [ -n "$missing" ] || return 0
    extras="${extras:+$extras,}${missing#,}"
    echo "installing into .venv (once, about a minute)" >&2
    # The tests import the example, so they need the versions that it pins.
    case "$extras" in *dev*) set -- -r examples/cloud_retrieval/requirements.txt ;; *) set -- ;; esac
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --editable ".[$extras]" "$@" 2>.venv/pip.log || {
        cat .venv/pip.log >&2
        return 2
    }
    printf '%s %s\n' "$sum" "$extras" >.venv/.installed
}
