#!/bin/sh
# Adds hosts to a run.   admit.sh RUN JSON ["NAME ADDRESS"...]
# JSON is the run's new job.json; only the first host of the run gets the names of the new ones.
set -u
cd "$HOME/stratus/runs/$1" || exit 1
umask 077
printf '%s\n' "$2" >job.json.new && mv job.json.new job.json || exit 73
shift 2
for member in "$@"; do
    printf '%s\n' "$member" >>mesh/members || exit 73
done
