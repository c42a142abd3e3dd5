#!/bin/sh
# What containers need to use this machine's NVIDIA GPUs, where it has any.   gpu.sh check|apply
# Nothing is installed: a driver that fits GPU and kernel comes with the machine's image.
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
better="set [cluster] image = deep-learning-ubuntu-24.04 (it has NVIDIA's driver and container toolkit), then launch again"

there() { # 10de: NVIDIA; class 03: something that displays or computes
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
    ! there || { driver && toolkit; }
    ;;
apply)
    driver || fail "there is an NVIDIA GPU here, and no driver that works: nvidia-smi does not run" "$better"
    fail "there is an NVIDIA GPU here, and no NVIDIA container toolkit: containers cannot use it" "$better"
    ;;
esac
