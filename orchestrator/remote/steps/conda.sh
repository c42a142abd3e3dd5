#!/bin/sh
# Creates a job's conda environment.   conda.sh check|apply VENV DIGEST FILE SOURCE
# FILE is in the bundle, DIGEST covers its text. SOURCE is a program of this host (micromamba, mamba or conda), or the URL
# of a micromamba binary; empty: the first of them that is found.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 venv="$STRATUS_ROOT/venvs/$2" digest=$3 file="$STRATUS_BUNDLE/$4" source=$5
mark="$venv/.stratus-python"
fix="set [install] conda: the path of micromamba or conda on the VMs, or the URL of a micromamba binary"

find_program() { # sets program
    PATH="$PATH:$STRATUS_ROOT/bin:$HOME/.local/bin:$HOME/miniforge3/bin:$HOME/miniconda3/bin:/opt/conda/bin"
    for name in ${source:-micromamba mamba conda}; do
        program=$(command -v "$name" 2>/dev/null) && return
    done
    fail "no ${source:-micromamba, mamba or conda} on this VM, and the job has a conda environment" "$fix"
}

download() { # sets program
    program="$STRATUS_ROOT/bin/micromamba-$(echo "$source" | cksum | cut -d' ' -f1)"
    [ -x "$program" ] && return
    say "downloading $source"
    certificates=
    [ -s "$STRATUS_BUNDLE/ca.pem" ] && certificates="--cacert $STRATUS_BUNDLE/ca.pem"
    # shellcheck disable=SC2086  # two words or none
    mkdir -p "$STRATUS_ROOT/bin" && keep curl -fsSL --retry 3 --max-time 600 $certificates -o "$program.new" "$source" ||
        fail "$source could not be downloaded: $(tail -n 1 "$kept")" "$fix"
    chmod 755 "$program.new" && mv "$program.new" "$program"
}

case $mode in
check)
    [ "$(cat "$mark" 2>/dev/null)" = "conda $digest" ] && [ -d "$venv/bin" ]
    ;;
apply)
    case $source in
    http://* | https://*) download ;;
    *) find_program ;;
    esac
    # Packages are kept between installs.
    export MAMBA_ROOT_PREFIX="$STRATUS_ROOT/conda" CONDA_PKGS_DIRS="$STRATUS_ROOT/conda/pkgs"
    rm -rf "$venv" && mkdir -p "${venv%/*}" || exit 1
    case ${program##*/} in
    micromamba*) set -- create --yes ;;
    *) set -- env create --quiet ;;
    esac
    if ! keep "$program" "$@" --prefix "$venv" --file "$file"; then
        full && no_room "$venv" "the conda environment of the job" 0
        fail "$(grep . "$kept" | tail -n 1)" "correct environment in job.ini, then InstallDeps() again"
    fi
    printf 'conda %s\n' "$digest" >"$mark"
    ;;
esac
