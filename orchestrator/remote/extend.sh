#!/bin/sh
# Finds this machine's timer and sets it anew.   extend.sh MINUTES BUDGET IDLE   (see expire.sh)
set -u
# On a real machine it lies below /; on one that is a folder, above the user's home.
folder=$HOME
while [ ! -e "$folder/var/lib/cloud/scripts/per-boot/stratus-expire" ]; do
    [ -n "$folder" ] || { echo "@@none"; exit 0; }
    folder=${folder%/*}
done
# Before its boot is over the timer is not armed, and what it was set to before means nothing.
if command -v cloud-init >/dev/null; then
    timeout 25 cloud-init status --wait >/dev/null 2>&1
    [ $? -ne 124 ] || { echo "this machine still boots" >&2; exit 75; }
fi
timer=$folder/var/lib/cloud/scripts/per-boot/stratus-expire
[ -w "$folder/var/lib/stratus" ] && exec sh "$timer" "$@"
exec sudo -n sh "$timer" "$@"
