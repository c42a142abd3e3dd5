#!/bin/sh
# What this machine is doing: its GPUs, its cores and memory, and the processes of our runs.   gpus.sh
# Lines: "@@gpu" and "@@app" with nvidia-smi's CSV after them (columns below), "@@host CORES LOAD KIB-TOTAL KIB-FREE",
# "@@task PID RUN CPU-PERCENT KIB COMMAND".
set -u
runs="$HOME/stratus/runs"
ask() { timeout 20 nvidia-smi "--query-$1=$2" --format=csv,noheader,nounits 2>/dev/null; }

run_of() { # PID; - when it is none of ours
    found=$(tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s|^STRATUS_FOLDER=$runs/||p" | head -n 1)
    echo "${found:--}"
}

if command -v nvidia-smi >/dev/null 2>&1; then
    ask gpu index,uuid,name,utilization.gpu,memory.used,memory.total,temperature.gpu | sed 's/^/@@gpu /'
    ask compute-apps pid,gpu_uuid,used_memory,process_name | while IFS= read -r line; do
        echo "@@app $(run_of "${line%%,*}"), $line"
    done
fi
read -r load _ </proc/loadavg
awk -v cores="$(getconf _NPROCESSORS_ONLN)" -v load="$load" '
    /^MemTotal:/ { all = $2 }
    /^MemAvailable:/ { free = $2 }
    END { print "@@host", cores, load, all, free }' /proc/meminfo
for pid in $(grep -laz "^STRATUS_FOLDER=$runs/" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
    used=$(ps -o pcpu=,rss=,args= -p "$pid" 2>/dev/null | sed 's/^ *//') && [ -n "$used" ] &&
        echo "@@task $pid $(run_of "$pid") $used"
done
exit 0
