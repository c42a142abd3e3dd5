#!/bin/sh
# Creates the virtual environment of a job.   python.sh check|apply VENV PYTHON SHARED
# SHARED=yes makes PYTHON's own packages available in it (on an AMI with PyTorch, for example).
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 venv=$2 python=$3 shared=$4
venv="$STRATUS_ROOT/venvs/$venv"
mark="$venv/.stratus-python"

# Unpacked rather than installed, which takes most of the time of creating an environment.
create_with_wheels() { # those that Python brings, as `python -m venv` does; at Debian in a folder of their own
    "$python" -m venv --without-pip "$venv" && "$venv/bin/python" -c '
import ensurepip, glob, os, sys, sysconfig, zipfile
folders = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"), "/usr/share/python-wheels"
for name in ("pip", "setuptools")[: 1 if sys.version_info >= (3, 12) else 2]:
    wheels = [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, name + "-*.whl")))]
    zipfile.ZipFile(wheels[0]).extractall(sysconfig.get_path("purelib"))' || return 1
    for name in pip pip3; do
        printf '#!/bin/sh\nexec "${0%%/*}/python" -m pip "$@"\n' >"$venv/bin/$name" && chmod +x "$venv/bin/$name" || return 1
    done
}

install_python() { # a version beside the distribution's own: python3.11
    sudo -n true 2>/dev/null || return 0
    more=$python-pip
    command -v apt-get >/dev/null 2>&1 && more=$python-venv
    say "installing $python"
    sh "$STRATUS_BUNDLE/steps/apt.sh" "$python" "$more" && return
    # Any other failure has printed its own line.
    grep -qi "couldn't find\|unable to locate\|no match for argument\|no candidate" "$kept" || exit 1
}

install_venv() { # Debian and Ubuntu have ensurepip in a package of its own, one for each version
    package=python3-venv
    case $python in python3.[0-9]*) package=$python-venv ;; esac
    command -v apt-get >/dev/null 2>&1 || package=${package%-venv}-pip
    say "installing $package"
    sh "$STRATUS_BUNDLE/steps/apt.sh" "$package"
}

case $mode in
check)
    read -r present 2>/dev/null <"$mark" && [ "$present" = "$python $shared" ] && [ -x "$venv/bin/python" ]
    ;;
apply)
    if ! command -v "$python" >/dev/null 2>&1; then
        case $python in python3.[0-9]*) install_python ;; esac
        command -v "$python" >/dev/null 2>&1 || { echo "no $python on this VM: set python in job.ini"; exit 1; }
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_venv || exit 1
    fi
    rm -rf "$venv" && mkdir -p "${venv%/*}" || exit 1
    # Shared packages include it.
    if [ "$shared" = yes ] && "$python" -c 'import pip' 2>/dev/null; then
        "$python" -m venv --without-pip "$venv" || exit 1
    elif ! create_with_wheels 2>/dev/null; then
        rm -rf "$venv"
        "$python" -m venv "$venv" || exit 1
    fi
    if [ "$shared" = yes ]; then
        # If PYTHON is itself in a virtual environment, --system-site-packages would share its base interpreter's packages.
        site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        "$python" -c 'import sysconfig; print(*dict.fromkeys(sysconfig.get_path(p) for p in ("purelib", "platlib")), sep="\n")' >"$site/stratus-shared.pth"
    fi
    printf '%s %s\n' "$python" "$shared" >"$mark"
    ;;
esac
