#!/bin/sh
# Ends this host's part of a run at its limit of time.   limit.sh FOLDER SECONDS
# Its tasks count as "timeout". Ends by itself, within five seconds, when they have ended.
set -u
folder=$1
# Some shells would evaluate other text as an expression.
case $2 in '' | *[!0-9]*) exit 64 ;; esac
uptime_s() { cut -d. -f1 /proc/uptime; }
end=$(($(uptime_s) + $2))

is_running() {
    for cmd in "$folder"/task/*.cmd; do
        role=${cmd##*/}
        state="$folder/state/${role%.cmd}"
        # Without a pid it has not begun yet.
        [ -e "$state.rc" ] || { [ -s "$state.pid" ] && ! kill -0 "$(cat "$state.pid")" 2>/dev/null; } || return 0
    done
    return 1
}

# Not the wall clock, which a time server may set.
while left=$((end - $(uptime_s))) && [ "$left" -gt 0 ]; do
    is_running || exit 0
    sleep $((left < 5 ? left : 5))
done
is_running || exit 0
for log in "$folder"/log/*.log; do
    printf '\nThe run reached [job] max_hours and is ended\n' >>"$log"
done
STRATUS_ENDED_AS=timeout sh "$folder/bin/cancel.sh" "$folder" all >/dev/null 2>&1
[ -e "$folder/task/main.cmd" ] && sh "$folder/bin/results.sh" "$folder"
[ -e "$folder/task/main.cmd" ] && sh "$folder/bin/notify.sh" "$folder" timeout
