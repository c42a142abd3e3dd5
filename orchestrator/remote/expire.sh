#!/bin/sh
# Shuts this VM down when its time is over, independently of the computer that launched it. cloud-init runs it at every
# boot; a shutdown terminates the instance, because it was launched with that behavior.
#
#   stratus-expire                       at boot: arm the timer
#   stratus-expire MINUTES BUDGET IDLE   shut down MINUTES from now, after BUDGET minutes in all (0: no limit), and after
#                                        IDLE minutes without use (0: never); - leaves a value unchanged
#                                        (a new BUDGET with - for MINUTES applies from the next boot or extension)
#
# Prints "@@until EPOCH BUDGET USED IDLE". /var/lib/stratus holds limits (minutes of one boot, budget, idle, port),
# used (minutes up, counted by idle.sh), until (end of this boot) and extended (a requested end).
set -u
# Below / on a VM; a host that is a folder has everything below that folder.
root=${0%/var/lib/cloud/scripts/*}
state=$root/var/lib/stratus
minutes=480 budget=0 idle=0 port=22
. "$state/limits"

number() { # FILE: prints the number in it, or 0
    value=
    [ -r "$state/$1" ] && read -r value <"$state/$1"
    case "$value" in '' | *[!0-9]*) value=0 ;; esac
    echo "$value"
}

keep() { # FILE TEXT: replaces the file atomically
    printf '%s\n' "$2" >"$state/$1.new" && mv "$state/$1.new" "$state/$1"
}

now=$(date +%s)
used=$(number used)
if [ $# -eq 3 ]; then
    for word in "$@"; do
        case "$word" in '' | *[!0-9-]* | ?*-*) echo "expire.sh: $word is not a number of minutes" >&2; exit 64 ;; esac
    done
    [ "$2" = - ] || budget=$2
    [ "$3" = - ] || idle=$3
    keep limits "minutes=$minutes budget=$budget idle=$idle port=$port"
    if [ "$1" = - ]; then
        # The timer stays as it is: right after a start it is not armed yet, and its value of the last boot is stale.
        echo "@@until $(number until) $budget $used $idle"
        exit 0
    fi
    left=$1
    keep extended $((now + left * 60))
else
    # Billing starts before this script: two minutes cover any boot.
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
