#!/bin/sh
# Takes part in an all-reduce over the VMs of a cluster.   all_reduce.sh BUNDLE agent|lead NAME ADDRESS SECONDS
# An agent of the mesh goes on after this script, which waits until it listens; it ends with the lead, and at the latest
# after some minutes. The lead, on the first host, prints what was measured: lines as of all_reduce.py.
set -u
export STRATUS_FOLDER=$1 STRATUS_HOST=$3 STRATUS_ADDRESS=$4 STRATUS_SECONDS=$5
export STRATUS_SLOTS=1 STRATUS_WAIT=20 STRATUS_MIN_HOSTS=1 PYTHONUNBUFFERED=1
mkdir -p "$STRATUS_FOLDER/state"
# The mesh's stand-in for ssh is found on PATH.
chmod 700 "$STRATUS_FOLDER"/bin/*.sh
limit=$((STRATUS_SECONDS * 2 + 200))
case $2 in
lead)
    trap 'rm -rf "$STRATUS_FOLDER"' EXIT
    timeout "$limit" sh "$STRATUS_FOLDER/bin/mesh_main.sh" "$STRATUS_FOLDER" health/all_reduce_lead.sh 2>&1
    ;;
agent)
    log="$STRATUS_FOLDER/mesh.log"
    setsid sh -c 'timeout "$1" sh "$STRATUS_FOLDER/bin/mesh_host.sh" "$STRATUS_FOLDER" >"$2" 2>&1
        touch "$STRATUS_FOLDER/state/ended"; sleep 2; rm -rf "$STRATUS_FOLDER"' sh "$limit" "$log" </dev/null >/dev/null 2>&1 &
    tries=0
    while [ ! -e "$STRATUS_FOLDER/state/mesh.up" ]; do
        if [ -e "$STRATUS_FOLDER/state/ended" ] || [ "$tries" -ge 200 ]; then
            tail -n 1 "$log"
            exit 1
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
    ;;
esac
