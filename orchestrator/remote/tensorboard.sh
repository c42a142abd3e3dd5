#!/bin/sh
# TensorBoard of this host, on its loopback address; one for each folder of logs.
#
#   sh tensorboard.sh start ADDRESS SECONDS LOGS [RUN]    starts it, or finds the one that runs; waits SECONDS at most
#   sh tensorboard.sh stop                                ends all of them
#
# ADDRESS is the loopback address. LOGS is a folder: absolute, or relative to the working directory of the run whose id
# ends with RUN, by default the newest. Prints "@@tensorboard PORT", "@@norun", "@@nofolder RUN" or "@@stopped COUNT".
set -u
mode=$1 address=${2:-} patience=${3:-0} logs=${4:-} run=${5:-}
umask 077
root="$HOME/stratus" state="$HOME/stratus/tensorboard"
mkdir -p "$state" || exit 73
# Two shells that start it at once must find the same one.
exec 9>"$state/lock"
if command -v flock >/dev/null 2>&1; then
    flock -w 60 9 || { echo "another shell is starting or ending TensorBoard"; exit 75; }
fi

runs_here() { # FOLDER: sets pid; false if its TensorBoard has ended, or was killed and another process has its pid
    read -r pid <"$1/pid" 2>/dev/null || return 1
    case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in *tensorboard*) return 0 ;; esac
    return 1
}

find_logs() { # sets logs to an absolute path
    case $logs in /*) run=-; return ;; "~/"*) run=- logs="$HOME/${logs#??}"; return ;; esac
    # Ids begin with the time: the last one is the newest.
    folder=$(ls -d "$root"/runs/*"$run" 2>/dev/null | tail -n 1)
    [ -n "$folder" ] || { echo "@@norun"; exit 0; }
    run=${folder##*/} logs="$folder/workdir/$logs"
}

port() { # prints the port of the server that writes this folder's log
    sed -n 's|.* at http://[^ /]*:\([0-9][0-9]*\)/.*|\1|p' "$1/log" 2>/dev/null | tail -n 1
}

start_server() { # FOLDER
    rm -rf "$1" && mkdir -p "$1" || exit 73
    # Port 0: a free one.
    setsid "$root/venvs/.tensorboard/bin/python" -m tensorboard.main --logdir "$logs" --host "$address" --port 0 \
        --load_fast=false >"$1/log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid" >"$1/pid"
    tries=0
    until [ -n "$(port "$1")" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt $((patience * 5)) ] || ! kill -0 "$pid" 2>/dev/null; then
            echo "TensorBoard did not start: $(grep -v '^$' "$1/log" | tail -n 1)"
            kill "$pid" 2>/dev/null
            exit 1
        fi
        sleep 0.2
    done
}

case $mode in
start)
    find_logs
    [ -d "$logs" ] || { echo "@@nofolder $run"; exit 0; }
    server="$state/$(printf %s "$logs" | cksum | tr ' ' -)"
    runs_here "$server" || start_server "$server"
    echo "@@tensorboard $(port "$server")"
    ;;
stop)
    count=0
    for server in "$state"/*/; do
        runs_here "$server" && kill "$pid" && count=$((count + 1))
        rm -rf "$server"
    done
    echo "@@stopped $count"
    ;;
esac
