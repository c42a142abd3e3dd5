#!/bin/sh
# Runs all steps of one host, in one round trip.
#
#   sh install.sh BUNDLE [keep]      with the upload channel on standard input; keep: BUNDLE is not removed
#
# BUNDLE/lock, if there is one, names what one at a time does; without it, that is an install.
# BUNDLE/plan holds one step per line: NAME SCRIPT ARGUMENT..., quoted for the shell. Every step script is called as
# "SCRIPT check ARGUMENT..." and, if that fails, as "SCRIPT apply ARGUMENT..."; a NAME that ends with ? is only checked.
# Lines that start with @@ are for the caller, all others are the log:
#   @@step NAME start|unchanged|done|failed|missing MILLISECONDS    @@want NAME (send that upload)    @@beat (heartbeat)
#   @@timer missing (the automatic shutdown of this VM is not armed)
#   @@other LINE (a line of an install that began earlier, and is waited for)
# The steps continue when the caller is gone, as far as they need no upload: the next caller shows and completes them.
set -u
bundle=$1
export STRATUS_BUNDLE="$bundle" STRATUS_ROOT="$HOME/stratus"
# Amazon Linux 2023 and Debian 13 keep /tmp in memory, half of which large packages fill: pip and uv unpack into TMPDIR.
export TMPDIR="${TMPDIR:-/var/tmp}"
state="$STRATUS_ROOT/state"
lock=install
[ ! -e "$bundle/lock" ] || read -r lock <"$bundle/lock"
log="$state/$lock.log"
[ -d "$state" ] || mkdir -p "$state" || exit 73
exec 3<&0 </dev/null 2>&1

# First of all: waiting for another install may take longer than the caller waits for a sign of life.
( while sleep "${STRATUS_BEAT:-5}" >/dev/null 2>&1; do echo "@@beat"; done ) 3<&- &
beat=$!
keep_bundle=${2:-}
trap 'kill "$beat" 2>/dev/null; [ -n "$keep_bundle" ] || rm -rf "$bundle"' EXIT
trap 'exit 143' HUP INT TERM

# Steps often take less time than a process of date.
clock() { # sets now: milliseconds
    read -r now _ 2>/dev/null </proc/uptime && now="${now%.*}${now#*.}0" || now=$(date +%s%3N)
}

relay() { # shows the log of the other install as it grows, until that has ended
    echo "@@other"
    timeout "$1" tail -n +1 -f -s 0.2 --pid="$(cat "$state/$lock.pid")" "$log" 2>/dev/null 9>&- | sed -u 's/^/@@other /'
}

# One install at a time: a second one would find incomplete environments.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$state/$lock.lock"
    clock
    until=$((now + 3600000))
    # Between the lock and its pid there is a moment, and an earlier version writes no pid: hence the second try.
    until flock -n 9 || { relay 3600 && flock -w 1 9; }; do
        clock
        [ "$now" -lt "$until" ] || { echo "another install on this VM did not end within an hour"; exit 75; }
    done
    echo $$ >"$state/$lock.pid"
fi

step() { # NAME SCRIPT ARGUMENT...
    name=${1%\?} only_check=${1#"${1%\?}"} script=$2
    shift 2
    clock
    began=$now
    echo "@@step $name start 0"
    # Without a shell of its own: in most installs, and before every run, nothing is to be done but these checks.
    if (set -- check "$@" && . "$bundle/steps/$script") 9>&-; then
        outcome=unchanged
    elif [ -n "$only_check" ]; then
        outcome=missing
        : >"$bundle/missing"
    elif sh "$bundle/steps/$script" apply "$@" <&3 9>&- && sh "$bundle/steps/$script" check "$@" 9>&-; then
        outcome=done
    else
        outcome=failed
    fi
    clock
    echo "@@step $name $outcome $((now - began))"
    [ "$outcome" != failed ]
}

steps() {
    while IFS= read -r line <&4; do
        eval "step $line" || return 1
    done 4<"$bundle/plan"
}

timer_is_armed() { # FOLDER: true if the end that it recorded is still to come
    read -r end 2>/dev/null <"$1/var/lib/stratus/until" || return 1
    case $end in '' | *[!0-9]*) return 1 ;; esac
    [ "$end" -gt $(($(date +%s) - 60)) ]
}

check_timer() { # a boot arms it in its last stage, long after SSH is up
    for folder in "" "${HOME%/home/*}"; do
        [ -e "$folder/var/lib/cloud/scripts/per-boot/stratus-expire" ] || continue
        timer_is_armed "$folder" && return
        timeout "${STRATUS_BOOT_PATIENCE:-60}" cloud-init status --wait >/dev/null 2>&1
        timer_is_armed "$folder" || echo "@@timer missing"
        return
    done
}

# -p: tee continues without its caller, so that no step is killed by writing to a closed connection.
(umask 077 && : >"$log")
{ steps; echo $? >"$bundle/status"; check_timer; } | {
    # One without this option ends at once.
    tee -p -a "$log" 2>/dev/null || tee -a "$log"
} 9>&- 3<&-
read -r status <"$bundle/status"
exit "$status"
