#!/bin/sh
# Runs the worker of an MXNet run on this host, its main task.   mxnet_main.sh FOLDER
# MXNet's scheduler and servers end by themselves once every worker has disconnected: ending them with the first worker
# would stop the others.
set -u
folder=$1
. "$folder/bin/mesh_up.sh"
sh "$folder/bin/command.sh"
rc=$?
[ "$rc" -eq 0 ] || exit "$rc"
tries=0
while [ "$tries" -lt 100 ]; do
    left=
    for role in scheduler server; do
        [ ! -e "$folder/task/$role.cmd" ] || [ -e "$folder/state/$role.rc" ] || left=$role
    done
    [ -n "$left" ] || exit 0
    tries=$((tries + 1))
    sleep 0.1
done
exit 0
