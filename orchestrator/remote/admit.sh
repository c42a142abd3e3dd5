#!/bin/sh
# Takes new hosts into a run.   admit.sh RUN JSON ["NAME ADDRESS"...]
# JSON is what the run is from now on; the new hosts are named to the run's first host alone.
set -u
cd "$HOME/stratus/runs/$1" || exit 1
umask 077
printf '%s\n' "$2" >job.json.new && mv job.json.new job.json || exit 73
shift 2
for member in "$@"; do
    printf '%s\n' "$member" >>mesh/members || exit 73
done
