# Sourced by the other scripts: a virtual environment in .venv with this checkout installed in it.
#
#   . scripts/setup.sh
#   setup EXTRA[,EXTRA...]      e.g. setup local; nothing is done when nothing changed since the last time
#
# PYTHON names the interpreter to begin with (3.11 or newer); nothing outside the checkout is touched.

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
        echo "making .venv with $base" >&2
        "$base" -m venv .venv || {
            echo "could not make .venv (on Debian and Ubuntu: apt install python3-venv)" >&2
            return 2
        }
    fi
    wanted="$1 $(cat setup.py pyproject.toml | cksum)"
    case "$(cat .venv/.installed 2>/dev/null)" in
    "$wanted") return 0 ;;
    esac
    echo "installing into .venv (once, about a minute)" >&2
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --editable ".[$1]" 2>.venv/pip.log || {
        cat .venv/pip.log >&2
        return 2
    }
    printf '%s\n' "$wanted" >.venv/.installed
}
