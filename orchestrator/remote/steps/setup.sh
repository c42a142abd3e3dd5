#!/bin/sh
# Runs the job's own setup commands.   setup.sh check|apply VENV DIGEST FILE CODE
# FILE is in the bundle, DIGEST covers its text. It runs in the job's folder CODE (below ~/stratus) with the job's
# environment first on PATH, and stops at the first command that fails. $SUDO is "sudo -n" where that is allowed.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 venv="$STRATUS_ROOT/venvs/$2" digest=$3 file="$STRATUS_BUNDLE/$4" code="$STRATUS_ROOT/$5"
# In the environment: a new environment lacks what the commands installed into the old one.
mark="$venv/.stratus-setup"

case $mode in
check)
    read -r present 2>/dev/null <"$mark" && [ "$present" = "$digest" ]
    ;;
apply)
    rm -f "$mark"
    SUDO=
    sudo -n true 2>/dev/null && SUDO="sudo -n"
    export SUDO VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH" DEBIAN_FRONTEND=noninteractive
    cd "$code" || exit 1
    # No input: it is the channel for uploads. -x: the log shows which command failed.
    if ! keep sh -ex "$file" </dev/null; then
        full && no_room "$STRATUS_ROOT" "the job's setup" 0
        echo "@@fix correct setup in job.ini, then InstallDeps() again"
        exit 1
    fi
    printf '%s\n' "$digest" >"$mark"
    ;;
esac
