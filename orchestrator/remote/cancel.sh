#!/bin/sh
# Ends processes and containers of one run on this host.   cancel.sh FOLDER all|helpers [ROLE...]
# "helpers" spares the task that calls it, a main task at its end. TERM first, KILL after five seconds. A process belongs
# to the run when it is in the session of one of its tasks, or carries the run's and the host's name in its environment:
# so those that made a session of their own are found as well. Tasks that still ran, here or, the ROLEs, when the cancel
# was decided, count as cancelled unless they end well: a task may fall because its run is being ended on another host
# already. Prints "@@left N", the number of processes and containers that would not go.
set -u
folder=$1 which=$2
shift 2
[ -d "$folder" ] || { echo "@@left 0"; exit 0; }
run=${folder##*/}
host=$(sed -n 's/^STRATUS_HOST=//p' "$folder"/task/*.env 2>/dev/null | head -n 1)

roles() {
    for file in "$folder"/state/*.pid; do
        role=${file##*/}
        role=${role%.pid}
        [ -e "$file" ] && { [ "$which" = all ] || [ "$role" != main ]; } && echo "$role"
    done
}

members() {
    {
        # A session's number is its leader's pid.
        for role in $(roles); do
            [ -e "$folder/state/$role.rc" ] || ps -o pid= -s "$(cat "$folder/state/$role.pid")"
        done
        grep -lzxF "STRATUS_RUN=$run" /proc/[0-9]*/environ | xargs -r grep -lzxF "STRATUS_HOST=$host" | cut -d/ -f3
    } 2>/dev/null | tr -d ' ' | sort -u
}

signal() {
    for pid in $(members); do
        kill "-$1" "$pid" 2>/dev/null
    done
}

wait_for_them() { # TENTHS-OF-SECONDS members|containers
    tries=0
    while [ -n "$($2)" ] && [ "$tries" -lt "$1" ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}

docker() { if command docker version >/dev/null 2>&1; then command docker "$@"; else sudo -n docker "$@"; fi; }

# The stopped ones as well: what a machine that was switched off left of itself.
containers() {
    [ "$which" = all ] && grep -q '^STRATUS_IMAGE=' "$folder"/task/*.env 2>/dev/null || return 0
    docker ps -aq --filter "label=stratus.run=$run" --filter "name=-$host-" 2>/dev/null
}

marked=$*
for role in $(roles); do
    [ -e "$folder/state/$role.rc" ] || marked="$marked $role"
done
signal TERM
wait_for_them 50 members
for id in $(containers); do
    docker rm -f "$id" >/dev/null 2>&1
done
signal KILL
wait_for_them 30 members
# The engine removes what has ended in its own time.
wait_for_them 50 containers
for role in $marked; do
    [ "$(cat "$folder/state/$role.rc" 2>/dev/null)" = 0 ] && continue
    date -u +%Y-%m-%dT%H:%M:%S.%3NZ >"$folder/state/$role.ended"
    echo cancelled >"$folder/state/$role.rc"
done
# The keys of a mesh open the other hosts: they go with the run.
[ "$which" = all ] && rm -rf "$folder/mesh"
echo "@@left $(($(members | wc -l) + $(containers | wc -l)))"
