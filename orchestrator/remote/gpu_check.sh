#!/bin/sh
# Prints the health of this host's NVIDIA GPUs.   gpu_check.sh
# Lines: "@@gpu" with nvidia-smi's CSV (columns below) for each GPU, "@@xid CODE PCI-ADDRESS" for each error that the driver
# has logged since the boot, "@@broken LINE" if nvidia-smi fails, "@@no-driver" where there is none.
set -u
command -v nvidia-smi >/dev/null 2>&1 || { echo "@@no-driver" && exit 0; }
columns=index,ecc.errors.uncorrected.volatile.total,name
answer=$(timeout 30 nvidia-smi "--query-gpu=$columns" --format=csv,noheader,nounits 2>&1)
case $? in
0) echo "$answer" | sed 's/^/@@gpu /' ;;
124) echo "@@broken nvidia-smi does not answer" ;;
*) echo "@@broken $(echo "$answer" | head -n 1)" ;;
esac
# Most distributions let only root read the kernel's log.
{ sudo -n dmesg || dmesg || journalctl -k -b --no-pager; } 2>/dev/null |
    sed -n 's/.*NVRM: Xid (PCI:\([0-9A-Fa-f:.]*\)): \([0-9]*\),.*/@@xid \2 \1/p' | sort -u
exit 0
