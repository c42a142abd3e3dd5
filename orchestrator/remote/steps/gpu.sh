#!/bin/sh
# Checks that containers can use this host's NVIDIA GPUs, if it has any.   gpu.sh check|apply
# Installs nothing: a driver that fits GPU and kernel comes with the VM's image.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
fix="set [cluster] image = deep-learning-ubuntu-24.04 (it has NVIDIA's driver and container toolkit), then launch again"

has_gpu() { # 10de: NVIDIA; class 03: display and compute controllers
    for device in "${STRATUS_PCI:-/sys/bus/pci/devices}"/*; do
        read -r vendor <"$device/vendor" && read -r class <"$device/class" || continue
        case $vendor$class in 0x10de0x03*) return 0 ;; esac
    done 2>/dev/null
    return 1
}

driver() { nvidia-smi -L >/dev/null 2>&1; }
toolkit() { nvidia-ctk --version >/dev/null 2>&1 || nvidia-container-cli --version >/dev/null 2>&1; }

case $1 in
check)
    ! has_gpu || { driver && toolkit; }
    ;;
apply)
    driver || fail "there is an NVIDIA GPU here, and no driver that works: nvidia-smi does not run" "$fix"
    fail "there is an NVIDIA GPU here, and no NVIDIA container toolkit: containers cannot use it" "$fix"
    ;;
esac
