#!/bin/sh
# Finds this machine's timer and sets it anew.   extend.sh MINUTES BUDGET IDLE   (see expire.sh)
set -u
# On a real machine it lies below /; on one that is a folder, above the user's home.
folder=$HOME
while [ ! -e "$folder/var/lib/cloud/scripts/per-boot/stratus-expire" ]; do
    [ -n "$folder" ] || { echo "@@none"; exit 0; }
    folder=${folder%/*}
done
timer=$folder/var/lib/cloud/scripts/per-boot/stratus-expire
[ -w "$folder/var/lib/stratus" ] && exec sh "$timer" "$@"
exec sudo -n sh "$timer" "$@"
