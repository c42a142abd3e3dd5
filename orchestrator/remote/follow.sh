#!/bin/sh
# Streams a task's log until the task ends.   follow.sh RUN ROLE LINES-SEEN MARK
# MARK, which no job knows, begins the lines that are not the log's: "MARK beat" (a heartbeat), "MARK beat disk PERCENT
# FREE-KIB MOUNT" (one that reports a disk which is at least 90 % full), "MARK spot TIME" (AWS reclaims the VM), "MARK full" (no room on the disk), and at the end "MARK times STARTED ENDED" (of the run's first task
# on this host, and of this task; - if unknown) and "MARK exit RC" (the task's own exit status) or "MARK exit lost" (it
# vanished without one).
set -u
folder="$HOME/stratus/runs/$1" role=$2 seen=$3 mark=$4
state="$folder/state/$role"
[ -d "$folder" ] || { echo "$mark exit unknown"; exit 0; }
spot() { if [ -s "$folder/state/spot" ]; then echo "$mark spot $(head -c 40 "$folder/state/spot")"; fi; }
disks() { # an NFS server may not answer
    { echo "$folder"; cat "$HOME/stratus/state/mounts" 2>/dev/null; } | tr '\n' '\0' |
        timeout -s KILL 4 xargs -0 df -Pk 2>/dev/null |
        awk -v beat="$mark beat" 'NR > 1 && $5 + 0 >= 90 && !seen[$6]++ { print beat, "disk", $5 + 0, $4, $6 }'
}
( beats=0; while sleep 5 >/dev/null 2>&1; do
    echo "$mark beat"
    [ $((beats % 6)) -ne 0 ] || disks
    beats=$((beats + 1))
done ) &
beat=$!
trap 'kill "$beat" 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM

# The task writes its pid first; ten seconds are far more than it needs.
tries=0
while [ ! -s "$state.pid" ] || [ ! -e "$folder/log/$role.log" ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 100 ] && { echo "$mark exit lost"; exit 0; }
    [ -e "$state.rc" ] && break
    sleep 0.1
done
pid=
read -r pid 2>/dev/null <"$state.pid"
if [ ! -e "$state.rc" ] && kill -0 "$pid" 2>/dev/null; then
    tail -n "+$((seen + 1))" -s 0.2 --pid="$pid" -f "$folder/log/$role.log" 2>/dev/null
else
    tail -n "+$((seen + 1))" "$folder/log/$role.log" 2>/dev/null
fi
# Longer than a cancel takes, from its first signal to the state of its tasks.
tries=0
while [ ! -e "$state.rc" ] && [ -e "$folder/state/ending" ] && [ "$tries" -lt 200 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
# The task's last line may lack its line end.
[ -n "$(tail -c 1 "$folder/log/$role.log" 2>/dev/null)" ] && echo
spot
free=$(df -Pk "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }')
[ "${free:-1024}" -lt 1024 ] && echo "$mark full"
# A job may write anything to these files.
moment() { head -n 1 | head -c 40 | tr -dc '0-9A-Za-z:.-'; }
started=$(head -q -c 40 "$folder"/state/*.started 2>/dev/null | sort | moment)
ended=$(head -c 40 "$state.ended" 2>/dev/null | moment)
echo "$mark times ${started:--} ${ended:--}"
echo "$mark exit $(head -c 20 "$state.rc" 2>/dev/null || echo lost)"
