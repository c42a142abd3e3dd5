#!/bin/sh
# Installs packages of the distribution that a job needs.   packages.sh check|apply JOB PACKAGE...
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 mark="$STRATUS_ROOT/state/packages-$2"
shift 2
packages="$*"

installed() {
    if command -v dpkg-query >/dev/null 2>&1; then
        for package in "$@"; do
            dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || return 1
        done
    else
        rpm -q -- "$@" >/dev/null 2>&1
    fi
}

case $mode in
check)
    # The mark is for names that no installed package has: of virtual packages, with versions.
    [ "$(cat "$mark" 2>/dev/null)" = "$packages" ] || installed "$@"
    ;;
apply)
    if ! sudo -n true 2>/dev/null; then
        fail "not installed here: $packages; and no sudo to install them" \
            "remove apt_packages from job.ini, or use VMs with sudo; packages that this VM already has count as installed"
    fi
    sh "$STRATUS_BUNDLE/steps/apt.sh" "$@" && printf '%s\n' "$packages" >"$mark"
    ;;
esac
