#!/bin/sh
# Finds this host's timer and resets it.   extend.sh MINUTES BUDGET IDLE   (see expire.sh)
set -u
# On a VM it is below /; on a host that is a folder, in a folder above the user's home.
folder=$HOME
while [ ! -e "$folder/var/lib/cloud/scripts/per-boot/stratus-expire" ]; do
    [ -n "$folder" ] || { echo "@@none"; exit 0; }
    folder=${folder%/*}
done
# Until the boot is complete the timer is not armed, and its value of the last boot is stale. Its own mark first:
# cloud-init takes a second to answer, and more than half a minute on a VM that is busy.
armed=
[ -z "$folder" ] && [ -d /run/systemd/system ] && [ -e /run/stratus/armed ] && armed=yes
if [ -z "$armed" ] && command -v cloud-init >/dev/null; then
    timeout 25 cloud-init status --wait >/dev/null 2>&1
    [ $? -ne 124 ] || { echo "this VM is still booting" >&2; exit 75; }
fi
timer=$folder/var/lib/cloud/scripts/per-boot/stratus-expire
[ -w "$folder/var/lib/stratus" ] && exec sh "$timer" "$@"
exec sudo -n sh "$timer" "$@"
