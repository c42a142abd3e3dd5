#!/bin/sh
# Installs a Docker engine that the login user may use.   engine.sh check|apply
# It is the distribution's package with its own socket; the user is added to the group that may use it.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
PATH=$PATH:${STRATUS_SBIN:-/usr/sbin:/sbin}

no_engine_here() { # true on Red Hat and its rebuilds, where the package docker is an alias of podman-docker
    (ID='' && . "${STRATUS_OS_RELEASE:-/etc/os-release}" 2>/dev/null && case $ID in rhel | centos | rocky | almalinux | ol) ;; *) false ;; esac)
}

start() {
    if [ -d /run/systemd/system ]; then
        sudo -n systemctl enable --now docker
    else
        sudo -n service docker start
    fi
}

answers() { # SECONDS: waits so long for an answer
    until=$(($(date +%s) + $1))
    until engine; do
        [ "$(date +%s)" -lt "$until" ] || return 1
        sleep 0.5
    done
}

case $1 in
check)
    engine
    ;;
apply)
    if ! sudo -n true 2>/dev/null; then
        fail "no Docker engine here, and no sudo to install one" "set runtime = venv in job.ini, or under [job] in the config"
    fi
    if ! command -v dockerd >/dev/null 2>&1; then
        no_engine_here && fail "this distribution has no package of a Docker engine (it has podman)" \
            "set runtime = venv in job.ini, or [cluster] image = ubuntu-24.04; or install docker-ce of docker.com on an AMI of your own"
        package=docker.io
        command -v apt-get >/dev/null 2>&1 || package=docker
        say "installing $package"
        sh "$STRATUS_BUNDLE/steps/apt.sh" "$package" || exit 1
    fi
    sudo -n usermod -aG docker "$(id -un)" || exit 1
    keep start
    answers 60 && exit 0
    sudo -n journalctl -u docker --no-pager -n 20 2>/dev/null
    fail "the Docker engine was installed and does not answer" "sudo journalctl -u docker  on that host shows the reason"
    ;;
esac
