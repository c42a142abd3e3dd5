#!/bin/sh
# Prints the load of this host: its GPUs, cores and memory, and the processes of runs.   gpus.sh
# Lines: "@@gpu" and "@@app" with nvidia-smi's CSV after them (columns below), "@@host CORES LOAD KIB-TOTAL KIB-FREE",
# "@@disk PERCENT FREE-KIB MOUNT", "@@task PID RUN CPU-PERCENT KIB COMMAND".
set -u
runs="$HOME/stratus/runs"
query() { # its message about a broken GPU comes on standard output
    answer=$(timeout 20 nvidia-smi "--query-$1=$2" --format=csv,noheader,nounits 2>/dev/null) && [ -n "$answer" ] && echo "$answer"
}

run_of() { # PID: prints its run, or - if it belongs to none
    run=$(tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s|^STRATUS_FOLDER=$runs/||p" | head -n 1)
    echo "${run:--}"
}

if command -v nvidia-smi >/dev/null 2>&1; then
    query gpu index,uuid,name,utilization.gpu,memory.used,memory.total,temperature.gpu | sed 's/^/@@gpu /'
    query compute-apps pid,gpu_uuid,used_memory,process_name | while IFS= read -r line; do
        echo "@@app $(run_of "${line%%,*}"), $line"
    done
fi
read -r load _ </proc/loadavg
awk -v cores="$(getconf _NPROCESSORS_ONLN)" -v load="$load" '
    /^MemTotal:/ { all = $2 }
    /^MemAvailable:/ { free = $2 }
    END { print "@@host", cores, load, all, free }' /proc/meminfo
# An NFS server may not answer.
{ echo "$HOME"; cat "$HOME/stratus/state/mounts" 2>/dev/null; } | tr '\n' '\0' |
    timeout -s KILL 4 xargs -0 df -Pk 2>/dev/null | awk 'NR > 1 && !seen[$6]++ { print "@@disk", $5 + 0, $4, $6 }'
for pid in $(grep -laz "^STRATUS_FOLDER=$runs/" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
    usage=$(ps -o pcpu=,rss=,args= -p "$pid" 2>/dev/null | sed 's/^ *//') && [ -n "$usage" ] &&
        echo "@@task $pid $(run_of "$pid") $usage"
done
exit 0
