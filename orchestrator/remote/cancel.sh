#!/bin/sh
# Ends processes and containers of one run on this host.   cancel.sh FOLDER all|helpers [ROLE...]
# "helpers" leaves out the caller, a main task at its end. TERM first, KILL after five seconds. A process belongs to the
# run if it is in the session of one of its tasks, or has the names of run and host in its environment: the latter finds
# those that started a session of their own. Tasks that were running (here, or the ROLEs, when the cancel was requested)
# count as cancelled unless they exit with 0: a task may fail because its run is being ended on another host already.
# Prints "@@left N", the number of processes and containers that could not be ended.
set -u
folder=$1 which=$2
shift 2
[ -d "$folder" ] || { echo "@@left 0"; exit 0; }
run=${folder##*/}

host_name() { sed -n 's/^STRATUS_HOST=//p' "$folder"/task/*.env 2>/dev/null | head -n 1; }

roles() {
    for file in "$folder"/state/*.pid; do
        role=${file##*/}
        role=${role%.pid}
        [ -e "$file" ] && { [ "$which" = all ] || [ "$role" != main ]; } && echo "$role"
    done
}

members() {
    {
        # The id of a session is the pid of its leader.
        for role in $(roles); do
            [ -e "$folder/state/$role.rc" ] || ps -o pid= -s "$(cat "$folder/state/$role.pid")"
        done
        # shellcheck disable=SC2046  # names of files in /proc
        set -- $(grep -lzxF "STRATUS_RUN=$run" /proc/[0-9]*/environ)
        [ $# -eq 0 ] || grep -lzxF "STRATUS_HOST=$(host_name)" "$@" | cut -d/ -f3
    } 2>/dev/null | tr -d ' ' | sort -u
}

signal() {
    for pid in $(members); do
        kill "-$1" "$pid" 2>/dev/null
    done
}

wait_until_gone() { # TENTHS-OF-SECONDS members|containers
    tries=0
    while [ -n "$($2)" ] && [ "$tries" -lt "$1" ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}

docker() { if command docker version >/dev/null 2>&1; then command docker "$@"; else sudo -n docker "$@"; fi; }

# Stopped ones too: they remain after the VM was stopped while they ran.
containers() {
    [ "$which" = all ] && grep -q '^STRATUS_IMAGE=' "$folder"/task/*.env 2>/dev/null || return 0
    docker ps -aq --filter "label=stratus.run=$run" --filter "name=-$(host_name)-" 2>/dev/null
}

cancelled=$*
for role in $(roles); do
    [ -e "$folder/state/$role.rc" ] || cancelled="$cancelled $role"
done
# The end of most runs: no helper, and nothing was left behind.
if [ "$which" = helpers ] && [ -z "$cancelled" ] && [ -z "$(members)" ]; then
    echo "@@left 0"
    exit 0
fi
# Until the states are written, a task that is gone counts as being ended: follow.sh waits for its state.
[ "$which" = all ] && : >"$folder/state/ending"
signal TERM
wait_until_gone 50 members
for id in $(containers); do
    docker rm -f "$id" >/dev/null 2>&1
done
signal KILL
wait_until_gone 30 members
# The engine removes a container some time after it has ended.
wait_until_gone 50 containers
for role in $cancelled; do
    [ "$(cat "$folder/state/$role.rc" 2>/dev/null)" = 0 ] && continue
    date -u +%Y-%m-%dT%H:%M:%S.%3NZ >"$folder/state/$role.ended"
    echo "${STRATUS_ENDED_AS:-cancelled}" >"$folder/state/$role.rc"
done
# The keys of a mesh give access to the other hosts: they are removed with the run.
[ "$which" = all ] && rm -rf "$folder/mesh"
echo "@@left $(($(members | wc -l) + $(containers | wc -l)))"
