#!/bin/sh
# JupyterLab of this host, on its loopback address.
#
#   sh jupyter.sh BUNDLE start ADDRESS SECONDS [JOB [yes]]    starts it, or finds the one that runs; waits SECONDS at most
#   sh jupyter.sh BUNDLE stop                                 ends it with its kernels
#
# ADDRESS is the loopback address. JOB is the environment whose kernel a new notebook gets; with "yes" it must be
# installed. Prints "@@jupyter PORT TOKEN", "@@nokernel KERNEL...", or "@@stopped yes|no". The token is in a file that
# only this user can read: it is on no command line, and in no environment and no log.
set -u
bundle=$1 mode=$2 address=${3:-} patience=${4:-0} job=${5:-} needed=${6:-}
umask 077
root="$HOME/stratus" folder="$HOME/stratus/jupyter"
python="$root/venvs/.jupyter/bin/python"
mkdir -p "$folder/runtime" "$folder/config/labconfig" "$folder/data/kernels" || exit 73
trap 'rm -rf "$bundle"' EXIT
# Two shells that start it at once must find the same one.
exec 9>"$folder/lock"
if command -v flock >/dev/null 2>&1; then
    flock -w 60 9 || { echo "another shell is starting or ending JupyterLab"; exit 75; }
fi

field() { # FILE NAME: prints a number of the file in which a server describes itself
    sed -n "s/.*\"$2\": *\([0-9][0-9]*\).*/\1/p" "$1" 2>/dev/null | head -n 1
}

find_server() { # sets pid and port; false without a server that runs: a killed one leaves its file
    for file in "$folder"/runtime/jpserver-*.json; do
        pid=$(field "$file" pid) port=$(field "$file" port)
        [ -n "$pid" ] && [ -n "$port" ] || continue
        case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in *jupyter*) return 0 ;; esac
    done
    return 1
}

add_client() { # the module stratus, with a Dask client, behind all packages of every kernel
    mkdir -p "$folder/lib" && cp "$bundle/notebooks/host_client.py" "$folder/lib/stratus.py" &&
        echo "$folder/lib" >"$packages/stratus-host.pth"
}

add_kernels() { # one for each job whose environment has the version of Python that JupyterLab's has
    version=$("$python" -c 'import sys; print(*sys.version_info[:2])')
    for venv in "$root"/venvs/*/; do
        name=$(basename "$venv")
        [ -e "$folder/data/kernels/$name/kernel.json" ] && continue
        [ "$("$venv/bin/python" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)" = "$version" ] || continue
        mkdir -p "$folder/data/kernels/$name"
        # Behind the job's own packages, whose versions stay as they are: it need not have ipykernel.
        "$python" - "$venv/bin/python" "$packages" "$folder/lib" "$name" >"$folder/data/kernels/$name/kernel.json" <<'SPEC' || rm -rf "$folder/data/kernels/$name"
import json
import sys

interpreter, *folders, name = sys.argv[1:]
start = f"import sys; sys.path += {folders!r}; from ipykernel import kernelapp; kernelapp.launch_new_instance()"
print(json.dumps({"argv": [interpreter, "-c", start, "-f", "{connection_file}"], "display_name": name, "language": "python"}))
SPEC
    done
}

start_server() {
    rm -rf "$folder"/runtime/*
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token" || exit 73
    # Without a question about news at the first start.
    echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
        >"$folder/config/labconfig/default_setting_overrides.json"
    kernel=python3
    [ -n "$job" ] && [ -e "$folder/data/kernels/$job/kernel.json" ] && kernel=$job
    # Sockets that other users of this host cannot connect to, unless their paths are too long: 108 bytes in linux/un.h.
    transport=tcp
    [ "${#folder}" -lt 48 ] && transport=ipc
    # Port 0: a free one. Other users of this host may have taken any that is fixed.
    JUPYTER_TOKEN_FILE="$folder/token" JUPYTER_RUNTIME_DIR="$folder/runtime" JUPYTER_CONFIG_DIR="$folder/config" \
        JUPYTER_DATA_DIR="$folder/data" setsid "$python" -m jupyterlab --no-browser --ip="$address" --port=0 \
        --ServerApp.root_dir="$HOME" --MultiKernelManager.default_kernel_name="$kernel" \
        --KernelManager.transport="$transport" --LabApp.extension_manager=readonly --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
        $([ "$(id -u)" -ne 0 ] || echo --allow-root) >"$folder/server.log" 2>&1 </dev/null 9>&- &
    launched=$!
    tries=0
    until find_server; do
        tries=$((tries + 1))
        if [ "$tries" -gt $((patience * 5)) ] || ! kill -0 "$launched" 2>/dev/null; then
            echo "JupyterLab did not start: $(grep -v '^$' "$folder/server.log" | tail -n 1)"
            kill "$launched" 2>/dev/null
            exit 1
        fi
        sleep 0.2
    done
    cp "$bundle/jupyter_use.py" "$folder/"
    setsid "$python" "$folder/jupyter_use.py" "$folder" "$pid" "$address:$port" </dev/null >/dev/null 2>&1 9>&- &
}

stop_server() { # a server that is asked to end ends its kernels
    kill "$pid" 2>/dev/null
    tries=0
    while find_server; do
        tries=$((tries + 1))
        [ "$tries" -le 100 ] || kill -9 -- "-$pid" "$pid" 2>/dev/null
        [ "$tries" -le 150 ] || { echo "JupyterLab, process $pid, does not end"; exit 1; }
        sleep 0.1
    done
    rm -rf "$folder"/runtime/* "$folder/token" "$folder/busy"
}

case $mode in
start)
    # Also for a server that runs: jobs may have been installed since its start.
    find_server || rm -rf "$folder"/data/kernels/*
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    add_client
    add_kernels
    if [ -n "$needed" ] && [ -n "$job" ] && [ ! -e "$folder/data/kernels/$job/kernel.json" ]; then
        echo "@@nokernel $(ls "$folder/data/kernels" | tr '\n' ' ')"
        exit 0
    fi
    find_server || start_server
    echo "@@jupyter $port $(cat "$folder/token")"
    ;;
stop)
    if find_server; then
        stop_server
        echo "@@stopped yes"
    else
        echo "@@stopped no"
    fi
    ;;
esac
