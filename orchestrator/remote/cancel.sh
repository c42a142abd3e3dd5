#!/bin/sh
# Ends processes and containers of one run on this host.   cancel.sh FOLDER all|helpers
# TERM first, KILL after five seconds. "all" looks for strays too: whatever carries this run's and this host's name in
# its environment, also when it left the session. Prints "@@left N", the number that would not go.
set -u
folder=$1 which=$2
[ -d "$folder" ] || { echo "@@left 0"; exit 0; }
run=${folder##*/}
host=$(sed -n 's/^STRATUS_HOST=//p' "$folder"/task/*.env 2>/dev/null | head -n 1)

roles() {
    for file in "$folder"/state/*.pid; do
        [ -e "$file" ] || continue
        role=${file##*/}
        role=${role%.pid}
        [ "$which" = helpers ] && [ "$role" = main ] && continue
        [ -e "$folder/state/$role.rc" ] && [ "$which" = helpers ] && continue
        echo "$role"
    done
}

# The members of the sessions that the tasks lead, and of nothing else: a session's number is its leader's pid.
members() {
    for role in $(roles); do
        ps -o pid= -s "$(cat "$folder/state/$role.pid")" 2>/dev/null
    done
    [ "$which" = all ] || return 0
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/}
        pid=${pid%/environ}
        [ "$pid" = $$ ] && continue
        tr '\0' '\n' <"$environ" 2>/dev/null | awk -v run="STRATUS_RUN=$run" -v host="STRATUS_HOST=$host" \
            '$0 == run { r = 1 } $0 == host { h = 1 } END { exit !(r && h) }' 2>/dev/null && echo "$pid"
    done
}

signal() {
    for pid in $(members); do
        kill "-$1" "$pid" 2>/dev/null
    done
}

marked=$(roles)
signal TERM
if command -v docker >/dev/null 2>&1 && [ "$which" = all ]; then
    docker() { if command docker info >/dev/null 2>&1; then command docker "$@"; else sudo -n docker "$@"; fi; }
    docker ps -q --filter "label=stratus.run=$run" 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1
fi
tries=0
while [ -n "$(members)" ] && [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
signal KILL
tries=0
while [ -n "$(members)" ] && [ "$tries" -lt 30 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
for role in $marked; do
    [ -e "$folder/state/$role.rc" ] && continue
    date -u +%Y-%m-%dT%H:%M:%SZ >"$folder/state/$role.ended"
    echo cancelled >"$folder/state/$role.rc"
done
echo "@@left $(members | sort -u | wc -l)"
