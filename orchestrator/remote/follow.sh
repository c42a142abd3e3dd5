#!/bin/sh
# Streams a task's log until the task ends.   follow.sh RUN ROLE LINES-SEEN
# Ends with "@@exit RC" (the task's own exit status) or "@@exit lost" (it vanished without one); @@beat is a heartbeat.
set -u
folder="$HOME/stratus/runs/$1" role=$2 seen=$3
state="$folder/state/$role"
[ -d "$folder" ] || { echo "@@exit unknown"; exit 0; }
( while sleep 5 >/dev/null 2>&1; do echo "@@beat"; done ) &
beat=$!
trap 'kill "$beat" 2>/dev/null' EXIT
trap 'exit 143' HUP INT TERM

# The task writes its pid first; ten seconds are far more than it needs.
tries=0
while [ ! -s "$state.pid" ] || [ ! -e "$folder/log/$role.log" ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 100 ] && { echo "@@exit lost"; exit 0; }
    [ -e "$state.rc" ] && break
    sleep 0.1
done
pid=$(cat "$state.pid")
if [ ! -e "$state.rc" ] && kill -0 "$pid" 2>/dev/null; then
    tail -n "+$((seen + 1))" -s 0.2 --pid="$pid" -f "$folder/log/$role.log" 2>/dev/null
else
    tail -n "+$((seen + 1))" "$folder/log/$role.log" 2>/dev/null
fi
# The task's last line may lack its line end.
[ -n "$(tail -c 1 "$folder/log/$role.log" 2>/dev/null)" ] && echo
echo "@@exit $(cat "$state.rc" 2>/dev/null || echo lost)"
