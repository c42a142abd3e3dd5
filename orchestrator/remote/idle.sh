#!/bin/sh
# Counts the minutes that this VM is up, and shuts it down after some minutes without use: no job runs, no SSH session is
# open, no GPU computes. stratus-expire starts it at every boot.
#
#   idle.sh USED     USED: minutes up before
#
# STRATUS_MINUTE is the length of a minute in seconds, for tests.
set -u
root=${0%/var/lib/stratus/*}
state=$root/var/lib/stratus
minute=${STRATUS_MINUTE:-60}
minutes=480 budget=0 idle=0 port=22

seconds() { # since boot: changes of the clock do not affect it
    read -r up _ </proc/uptime && echo "${up%%.*}"
}

job() {
    for pid in "$root"/home/*/stratus/runs/*/state/*.pid "$root"/root/stratus/runs/*/state/*.pid; do
        [ -r "$pid" ] && [ ! -e "${pid%.pid}.rc" ] || continue
        read -r number <"$pid" || continue
        # After a reboot another process may have the pid.
        case "$(tr '\0' ' ' <"/proc/$number/cmdline" 2>/dev/null)" in *task.sh*) return 0 ;; esac
    done
    return 1
}

session() { # an established connection to the SSH port of one of this VM's own addresses
    own=
    for address in $(hostname -I 2>/dev/null); do
        case "$address" in *:*) continue ;; esac
        # The kernel prints an IPv4 address in hexadecimal, last byte first.
        own="$own $(echo "$address" | awk -F. '{ printf "%02X%02X%02X%02X", $4, $3, $2, $1 }')"
    done
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf %04X "$port")" -v own="$own" '
        $4 == "01" {
            split($2, local, ":")
            size = length(local[1])
            old = size == 8 || substr(local[1], 1, 24) == "0000000000000000FFFF0000"
            if (local[2] == port && (!old || index(own, substr(local[1], size - 7)))) found = 1
        }
        END { exit !found }'
}

gpu() { # a few percent come from the driver itself
    command -v nvidia-smi >/dev/null || return 1
    timeout 20 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null |
        awk '$1 + 0 > 5 { found = 1 } END { exit !found }'
}

began=$(seconds)
active=$began
while sleep "$minute"; do
    now=$(seconds)
    echo $(($1 + (now - began) / minute + 1)) >"$state/used.new" && mv "$state/used.new" "$state/used"
    . "$state/limits"
    if [ "$idle" -eq 0 ] || job || session || gpu; then
        active=$now
    elif [ $((now - active)) -ge $((idle * minute)) ]; then
        echo "ended after $idle min without a job, an SSH session or GPU use" | tee "$state/ended"
        shutdown -h now
    fi
done
