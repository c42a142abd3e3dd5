#!/bin/sh
# Counts the minutes that this VM is up, and shuts it down at its end, whatever became of the scheduled shutdown, and after
# some minutes without use: no job runs, no SSH session is open, no GPU or notebook computes. stratus-expire starts it at
# every boot.
#
#   idle.sh USED [END]     USED: minutes up before, unless the file used has a count; END: uptime in seconds at which it
#                          shuts down, unless /run/stratus/end has another; 0: never
#
# STRATUS_MINUTE is the length of a minute in seconds, for tests.
set -u
root=${0%/var/lib/stratus/*}
state=$root/var/lib/stratus
run=$root/run/stratus
minute=${STRATUS_MINUTE:-60}
end=${2:-0}

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

quiet() { # prints hexadecimal client ports of connections whose tunnels nothing moves through: tunnel_use.sh
    for file in "$root"/home/*/stratus/tunnels/* "$root"/root/stratus/tunnels/*; do
        name=${file##*/}
        case $name in *[!0-9]*) continue ;; esac
        hex=$(printf %04X "$name")
        if ! grep -q ":$hex 01 " /proc/net/tcp /proc/net/tcp6 2>/dev/null; then
            # Another connection may get the port.
            rm -f "$file"
        elif [ "$(head -c 5 "$file" 2>/dev/null)" = quiet ]; then
            printf '%s ' "$hex"
        fi
    done
}

session() { # an established connection to the SSH port of one of this VM's own addresses
    own=
    for address in $(hostname -I 2>/dev/null); do
        case "$address" in *:*) continue ;; esac
        # The kernel prints an IPv4 address in hexadecimal, last byte first.
        own="$own $(echo "$address" | awk -F. '{ printf "%02X%02X%02X%02X", $4, $3, $2, $1 }')"
    done
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf %04X "$port")" -v own="$own" -v quiet="$(quiet)" '
        $4 == "01" {
            split($2, local, ":")
            split($3, remote, ":")
            size = length(local[1])
            old = size == 8 || substr(local[1], 1, 24) == "0000000000000000FFFF0000"
            if (local[2] == port && !index(quiet, remote[2]) && (!old || index(own, substr(local[1], size - 7)))) found = 1
        }
        END { exit !found }'
}

notebook() { # jupyter_use.py touches the file twice a minute while a kernel works
    [ -n "$(find "$root"/home/*/stratus/jupyter/busy "$root"/root/stratus/jupyter/busy -mmin -2 2>/dev/null)" ]
}

gpu() { # a few percent come from the driver itself
    command -v nvidia-smi >/dev/null || return 1
    timeout 20 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null |
        awk '$1 + 0 > 5 { found = 1 } END { exit !found }'
}

number() { # TEXT DEFAULT: prints the number, or the default
    case "$1" in '' | *[!0-9]*) echo "$2" ;; *) echo "$1" ;; esac
}

limit() { # NAME DEFAULT: from the limits of stratus-expire, which may be missing or damaged
    number "$(sed -n "s/^\(.* \)\{0,1\}$1=\([0-9][0-9]*\).*/\2/p" "$state/limits" 2>/dev/null | head -n 1)" "$2"
}

pause() { # a minute, or less to the end
    left=$((end - $(seconds)))
    if [ "$left" -gt 0 ] && [ "$left" -lt "$minute" ]; then echo "$left"; else echo "$minute"; fi
}

stored() { # FILE DEFAULT: prints the number in a file, or the default
    value=
    [ -r "$1" ] && read -r value <"$1"
    number "$value" "$2"
}

keep_moment() { # a clock that is set moves the moment of the end, which is for reboots and for clients, not the end
    moment=$(($(date +%s) + end - $1))
    drift=$((moment - $(stored "$state/until" "$moment")))
    [ "${drift#-}" -lt 30 ] || printf '%s\n' "$moment" 1<>"$state/until"
}

end_vm() { # past logind, which refuses a shutdown while a program holds a lock that blocks it
    [ -z "$root" ] && [ -d /run/systemd/system ] &&
        systemctl start --no-block --job-mode=replace-irreversibly poweroff.target && return
    shutdown -h now
}

# The count of the file: this script may have been killed and started again.
used=$(stored "$state/used" "$1")
began=$(seconds)
active=$began
while sleep "$(pause)"; do
    now=$(seconds)
    touch "$state/seen"
    # Written over, not replaced: that works on a full disk, too.
    printf '%s\n' $((used + (now - began) / minute + 1)) 1<>"$state/used"
    # An extension over SSH writes the file.
    end=$(stored "$run/end" "$end")
    [ "$end" -eq 0 ] || keep_moment "$now"
    idle=$(limit idle 0) port=$(limit port 22)
    if [ "$end" -gt 0 ] && [ "$now" -ge "$end" ]; then
        echo "ended: its time is over" | tee "$state/ended"
        end_vm
    elif [ "$idle" -eq 0 ] || job || session || notebook || gpu; then
        active=$now
    elif [ $((now - active)) -ge $((idle * minute)) ]; then
        echo "ended after $idle min without a job, a busy notebook, an SSH session or GPU use" | tee "$state/ended"
        end_vm
    fi
done
