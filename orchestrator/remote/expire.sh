#!/bin/sh
# Shuts this VM down when its time is over, independently of the computer that launched it. cloud-init runs it at every
# boot; a shutdown terminates the instance, because it was launched with that behavior.
#
#   stratus-expire                       at boot: arm the timer
#   stratus-expire MINUTES BUDGET IDLE   shut down MINUTES from now, after BUDGET minutes in all (0: no limit), and after
#                                        IDLE minutes without use (0: never); - leaves a value unchanged
#                                        (a new BUDGET with - for MINUTES applies from the next boot or extension)
#
# Prints "@@until EPOCH BUDGET USED IDLE". /var/lib/stratus holds limits (minutes from a start, budget, idle, port), used
# (minutes up, counted by idle.sh), until (the end, a moment that a reboot does not move) and seen (its date: when the VM
# was last up); /run/stratus holds end (the same as uptime in seconds, for idle.sh) and armed (this script has run since
# the boot).
#
# idle.sh shuts down at the end. In case it hangs, something later does: where systemd runs, a timer, which neither a
# restart of logind nor "shutdown -c" cancels, as they do a scheduled shutdown; elsewhere a scheduled shutdown.
set -u
# Below / on a VM; a host that is a folder has everything below that folder.
root=${0%/var/lib/cloud/scripts/*}
state=$root/var/lib/stratus
run=$root/run/stratus

number() { # FILE: prints the number in it, or 0
    value=
    [ -r "$state/$1" ] && read -r value <"$state/$1"
    case "$value" in '' | *[!0-9]*) value=0 ;; esac
    echo "$value"
}

limit() { # NAME DEFAULT: not sourced, because a missing or damaged file would end this script without a timer
    value=$(sed -n "s/^\(.* \)\{0,1\}$1=\([0-9][0-9]*\).*/\2/p" "$state/limits" 2>/dev/null | head -n 1)
    echo "${value:-$2}"
}

keep() { # FILE TEXT: replaces the file atomically; on a full disk, overwrites it in the block that it has
    { printf '%s\n' "$2" >"$state/$1.new"; } 2>/dev/null && mv "$state/$1.new" "$state/$1" && return
    rm -f "$state/$1.new"
    printf '%-60s\n' "$2" 1<>"$state/$1"
}

was_off() { # for longer than a reboot takes: then it was stopped, and its time begins anew
    seen=$(date -r "$state/seen" +%s 2>/dev/null || echo 0)
    [ $((now - seen)) -ge 900 ]
}

unit() { # NAME OPTION...: replaces a transient unit, which ends with the VM only
    systemctl stop "$1.timer" "$1.service" >/dev/null 2>&1
    name=$1
    shift
    systemd-run --quiet --collect --unit="$name" -p DefaultDependencies=no "$@"
}

# Not by `shutdown`: while systemd boots or a service does not stop, that waits for up to half an hour.
arm_timer() {
    unit stratus-end --on-active="$((left + 120))s" --timer-property=AccuracySec=1s \
        --timer-property=DefaultDependencies=no systemctl poweroff --force &&
        { systemctl stop stratus-backstop.timer >/dev/null 2>&1 || :; }
}

# Later than idle.sh: a scheduled shutdown blocks logins in its last five minutes, until it is cancelled.
arm_shutdown() {
    shutdown -c >/dev/null 2>&1
    [ "$left" -le 0 ] || shutdown -h "+$(((left + 59) / 60 + 6))"
}

minutes=$(limit minutes 480) budget=$(limit budget 0) idle=$(limit idle 0) port=$(limit port 22)
now=$(date +%s)
read -r up _ </proc/uptime
used=$(number used)
until=$(number until)
if [ $# -eq 3 ]; then
    for word in "$@"; do
        case "$word" in '' | *[!0-9-]* | ?*-*) echo "expire.sh: $word is not a number of minutes" >&2; exit 64 ;; esac
    done
    [ "$2" = - ] || budget=$2
    [ "$3" = - ] || idle=$3
    keep limits "minutes=$minutes budget=$budget idle=$idle port=$port"
    if [ "$1" = - ]; then
        # The timer stays as it is: right after a start it is not armed yet, and its value of the last boot is stale.
        echo "@@until $until $budget $used $idle"
        exit 0
    fi
    left=$(($1 * 60))
    rm -f "$state/graced"
else
    # Billing starts before this script: two minutes cover any boot.
    used=$((used + 2))
    keep used "$used"
    left=$((until - now)) grace=600
    [ "$grace" -le $((minutes * 60)) ] || grace=$((minutes * 60))
    if [ "$left" -le 0 ] && { [ "$until" -eq 0 ] || was_off; }; then
        left=$((minutes * 60))
        rm -f "$state/graced"
    elif [ "$left" -gt $((720 * 3600)) ]; then
        left=$((minutes * 60))  # no extension reaches that far: the clock is wrong
    elif [ "$left" -lt "$grace" ] && [ ! -e "$state/graced" ] && touch "$state/graced" 2>/dev/null; then
        # A VM stopped near its end and soon started again would terminate, disk included, before StartAll() can move
        # the end over SSH. Once for each end: reboots do not add up.
        left=$grace
    fi
    rm -f "$run/end"  # of the last boot, whose uptime was another
fi
if [ "$budget" -gt 0 ] && [ "$left" -gt $(((budget - used) * 60)) ]; then
    left=$(((budget - used) * 60))
fi
[ "$left" -gt 0 ] || left=0
end=$((${up%%.*} + left))
# In memory: a full disk must not keep an extension from idle.sh. First, because idle.sh sets until by it.
mkdir -p "$run" && echo "$end" >"$run/end"
keep until $((now + left))
# A date can be set on a full disk, too.
touch "$state/seen"
# A host that is a folder shares the systemd of its computer.
systemd=
[ -z "$root" ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null && systemd=yes
# As a service idle.sh is started again after a kill for lack of memory, and outlives cloud-init.
if [ $# -ne 3 ] && ! { [ -n "$systemd" ] && unit stratus-idle -p Restart=always -p RestartSec=5 -p OOMScoreAdjust=-900 \
    sh "$state/idle.sh" "$used" "$end"; }; then
    setsid sh "$state/idle.sh" "$used" "$end" </dev/null >"$state/idle.log" 2>&1 &
fi
{ [ -n "$systemd" ] && arm_timer; } || arm_shutdown || exit 69
touch "$run/armed"
[ "$left" -gt 0 ] || shutdown -h now || exit 69
echo "@@until $((now + left)) $budget $used $idle"
