#!/bin/sh
# A Docker engine that the login user may use.   engine.sh check|apply
set -u
usable() { docker info >/dev/null 2>&1 || sudo -n docker info >/dev/null 2>&1; }

case $1 in
check)
    usable
    ;;
apply)
    if ! sudo -n true 2>/dev/null; then
        echo "no Docker engine here and no sudo to install one: set runtime = venv in job.ini"
        exit 1
    fi
    sudo -n cloud-init status --wait >/dev/null 2>&1
    if command -v apt-get >/dev/null 2>&1; then
        sudo -n apt-get -o DPkg::Lock::Timeout=300 -q update &&
            sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qy install docker.io || exit 1
    else
        sudo -n dnf -q -y install docker || exit 1
    fi
    sudo -n systemctl enable --now docker || exit 1
    sudo -n usermod -aG docker "$(id -un)"
    ;;
esac
