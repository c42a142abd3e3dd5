#!/bin/sh
# Ends this machine when its time is over, whatever became of the computer that launched it. Lies where cloud-init runs
# it at every boot; shutting down terminates the machine, because it was launched so.
#
#   stratus-expire                       at boot: arm the timer
#   stratus-expire MINUTES BUDGET IDLE   end MINUTES from now, live BUDGET minutes in all (0: any number), end after IDLE
#                                        minutes of nobody's use (0: never); - leaves one as it is
#                                        (a new BUDGET with - for MINUTES counts from the next boot or extension on)
#
# Answers "@@until EPOCH BUDGET USED IDLE". /var/lib/stratus holds limits (minutes of one boot, budget, idle, port),
# used (minutes lived, counted by idle.sh), until (when this boot ends) and extended (an end that was asked for).
set -u
# Below / on a real machine; a machine that is a folder has everything below that folder.
root=${0%/var/lib/cloud/scripts/*}
state=$root/var/lib/stratus
minutes=480 budget=0 idle=0 port=22
. "$state/limits"

number() { # FILE: the number in it; 0 when there is none
    value=
    [ -r "$state/$1" ] && read -r value <"$state/$1"
    case "$value" in '' | *[!0-9]*) value=0 ;; esac
    echo "$value"
}

keep() { # FILE TEXT: whole or not at all
    printf '%s\n' "$2" >"$state/$1.new" && mv "$state/$1.new" "$state/$1"
}

now=$(date +%s)
used=$(number used)
if [ $# -eq 3 ]; then
    for word in "$@"; do
        case "$word" in '' | *[!0-9-]* | ?*-*) echo "expire.sh: $word is no number of minutes" >&2; exit 64 ;; esac
    done
    [ "$2" = - ] || budget=$2
    [ "$3" = - ] || idle=$3
    keep limits "minutes=$minutes budget=$budget idle=$idle port=$port"
    if [ "$1" = - ]; then
        # The timer stays as it is: right after a start it is not armed yet, and what it was before means nothing.
        echo "@@until $(number until) $budget $used $idle"
        exit 0
    fi
    left=$1
    keep extended $((now + left * 60))
else
    # Billing began before this script did: two minutes cover any boot.
    used=$((used + 2))
    keep used "$used"
    extended=$((($(number extended) - now) / 60))
    left=$((extended > minutes ? extended : minutes))
    setsid sh "$state/idle.sh" "$used" </dev/null >"$state/idle.log" 2>&1 &
fi
if [ "$budget" -gt 0 ] && [ "$left" -gt $((budget - used)) ]; then
    left=$((budget - used))
fi
if [ "$left" -gt 0 ]; then
    keep until $((now + left * 60))
    shutdown -h "+$left" || exit 69
else
    keep until "$now"
    shutdown -h now || exit 69
fi
echo "@@until $(number until) $budget $used $idle"
