#!/bin/sh
# Ends every run on this host: all processes and containers, also those whose run folder, parent or shell is gone.
#   killall.sh BUNDLE      (BUNDLE contains cancel.sh)
# Prints "@@ended RUN" for each run that was ended, and "@@left N": processes and containers that could not be ended.
set -u
bundle=$1
trap 'rm -rf "$bundle"' EXIT
runs="$HOME/stratus/runs"

# All processes of a task inherit its folder in their environment; another user's runs have other folders.
strays() {
    grep -laz "^STRATUS_FOLDER=$runs/" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

run_of() { # PID
    tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s|^STRATUS_FOLDER=$runs/||p" | head -n 1
}

docker() { if command docker version >/dev/null 2>&1; then command docker "$@"; else sudo -n docker "$@"; fi; }

containers() { # ID RUN of each
    ids=$(docker ps -aq --filter label=stratus.run 2>/dev/null)
    # shellcheck disable=SC2086  # several words on purpose
    [ -n "$ids" ] && docker inspect --format '{{.Id}}{{range .Config.Env}} {{.}}{{end}}' $ids 2>/dev/null |
        sed -n "s|^\([0-9a-f]*\) .*STRATUS_FOLDER=$runs/\([^ ]*\).*|\1 \2|p"
}

unfinished() {
    for file in "$runs"/*/state/*.pid; do
        [ -e "$file" ] && [ ! -e "${file%.pid}.rc" ] && echo "$file" | sed "s|^$runs/\([^/]*\)/.*|\1|"
    done
}

for run in $({ unfinished; for pid in $(strays); do run_of "$pid"; done; containers | cut -d' ' -f2; } | sort -u); do
    echo "@@ended $run"
    sh "$bundle/cancel.sh" "$runs/$run" all >/dev/null 2>&1 &
done
wait
# The rest belongs to runs whose folder is gone.
for how in TERM KILL; do
    tries=0
    for pid in $(strays); do kill "-$how" "$pid" 2>/dev/null; done
    while [ -n "$(strays)" ] && [ "$tries" -lt 30 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
done
for id in $(containers | cut -d' ' -f1); do docker rm -f "$id" >/dev/null 2>&1; done
tries=0
while [ -n "$(containers)" ] && [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
for pid in $(strays); do
    echo "process $pid of $(run_of "$pid"): $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-120)"
done
containers | sed 's/^\(.\{12\}\)[^ ]* /container \1 of /'
echo "@@left $(($(strays | wc -l) + $(containers | wc -l)))"
