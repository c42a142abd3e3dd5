# Sourced by commands that need a Docker engine: the one that is running, or in CI one installed and started here.
#
#   . scripts/lib/engine.sh
#   engine_start FOLDER      returns 2 with an error message if there is none; FOLDER is for an engine started here
#   engine_stop              stops the engine that was started here and unmounts its file systems
#   apt_install PACKAGE...   installs packages of the distribution in CI; elsewhere prints the command and returns 2

ENGINE_PID=
ENGINE_FOLDER=

engine_start() {
    docker info >/dev/null 2>&1 && return 0
    if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ]; then
        echo "no Docker engine is accessible to this user: start it (sudo systemctl start docker), or join the group docker" >&2
        return 2
    fi
    command -v dockerd >/dev/null 2>&1 || apt_install docker.io
    mkdir -p "$1"
    ENGINE_FOLDER=$1
    dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" >"$1/log" 2>&1 &
    ENGINE_PID=$!
    tries=0
    until docker info >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 120 ] || ! kill -0 "$ENGINE_PID" 2>/dev/null; then
            tail -n 5 "$1/log" >&2
            echo "dockerd did not start (log: $1/log)" >&2
            return 2
        fi
        sleep 0.5
    done
}

engine_stop() {
    [ -n "$ENGINE_PID" ] || return 0
    kill "$ENGINE_PID" && wait "$ENGINE_PID" || true
    ENGINE_PID=
    # Its mounts would keep its folder from being removed.
    awk -v folder="$ENGINE_FOLDER/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
}

apt_install() {
    if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ]; then
        echo "missing here: sudo apt install $*" >&2
        return 2
    fi
    echo "installing $*" >&2
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes "$@"; } >/dev/null
}
