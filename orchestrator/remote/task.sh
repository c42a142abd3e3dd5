#!/bin/sh
# Runs one task of a run, in a session of its own.   task.sh FOLDER ROLE VENV
# Writes to FOLDER/state: ROLE.pid (leader of its session), ROLE.started and ROLE.ended (UTC), ROLE.rc (exit status).
set -u
folder=$1 role=$2 venv=$3
state="$folder/state/$role"
echo $$ >"$state.pid"
# A client that follows the run waits for it.
: >>"$folder/log/$role.log"
date -u +%Y-%m-%dT%H:%M:%S.%3NZ >"$state.started"
# Room for the outcome is taken now and written over later: a job that fills the disk must not lose its exit status.
printf '%24s\n' '' >"$state.ended.new"
printf '\n\n\n\n' >"$state.rc.new"
umask 022
set -a
. "$folder/task/$role.env"
set +a
[ -d "$venv/bin" ] && PATH="$venv/bin:$PATH" && export PATH VIRTUAL_ENV="$venv"
if [ -d "$venv/conda-meta" ] && command -v bash >/dev/null 2>&1; then
    # Packages set variables (GDAL_DATA, PROJ_LIB) in scripts that are written for bash.
    export CONDA_PREFIX="$venv"
    variables=$(bash --posix -c 'for f in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do [ -e "$f" ] && . "$f" >/dev/null; done; export -p') &&
        eval "$variables"
fi
# Output appears as it is written, and figures need no display.
export PYTHONUNBUFFERED=1 MPLBACKEND=Agg STRATUS_FOLDER="$folder" STRATUS_HOSTFILE="$folder/hostfile"
if [ -z "${STRATUS_SLOTS:-}" ]; then
    # One process per GPU that is present; without any, one.
    STRATUS_SLOTS=0
    command -v nvidia-smi >/dev/null 2>&1 && STRATUS_SLOTS=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
    [ "$STRATUS_SLOTS" -gt 0 ] || STRATUS_SLOTS=1
fi
export STRATUS_SLOTS
if [ -d "$folder/tls" ]; then
    # Dask reads its certificates from these variables; every process may have any of the three roles.
    export "DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$folder/tls/ca.pem"
    for side in SCHEDULER WORKER CLIENT; do
        export "DASK_DISTRIBUTED__COMM__TLS__${side}__CERT=$folder/tls/cert.pem"
        export "DASK_DISTRIBUTED__COMM__TLS__${side}__KEY=$folder/tls/key.pem"
    done
fi
# A login may open 1024 files, too few for hundreds of workers. Bounded: some programs visit every possible file.
limit=$(ulimit -Hn)
case $limit in unlimited | ???????*) limit=524288 ;; esac
ulimit -n "$limit" 2>/dev/null
cd "$folder/workdir" || exit 73
if [ -s "$folder/checkpoints.dir" ]; then
    STRATUS_CHECKPOINTS="$folder/workdir/$(cat "$folder/checkpoints.dir")"
    export STRATUS_CHECKPOINTS
fi

# Without the state that it should go on from, a job would begin anew, and save that.
if [ -s "$folder/inputs" ] && ! "$venv/bin/python" "$folder/bin/stage.py" run "$folder"; then
    (exit 74)
elif [ -s "$folder/checkpoints" ] && ! sh "$folder/bin/checkpoints.sh" "$folder" "$venv" restore; then
    (exit 74)
elif [ -n "${STRATUS_IMAGE:-}" ]; then
    sh "$folder/bin/container.sh" "$folder" "$role"
else
    sh "$folder/task/$role.cmd"
fi >>"$folder/log/$role.log" 2>&1 </dev/null # appended to: spot.sh may add a line
rc=$?
# Before the end is recorded: the VM may be terminated right after it.
[ "$role" = main ] && [ -s "$folder/checkpoints" ] && sh "$folder/bin/checkpoints.sh" "$folder" "$venv" final

# The helpers of a run (scheduler, workers) end with its main task; processes that the mesh agent started end with it on
# a host without a main task.
case $role in
main) last=yes ;;
mesh) [ -e "$folder/task/main.cmd" ] && last=no || last=yes ;;
*) last=no ;;
esac
# <> writes over the reserved bytes; > would give them back first.
date -u +%Y-%m-%dT%H:%M:%S.%3NZ 1<>"$state.ended.new" && mv "$state.ended.new" "$state.ended"
echo "$rc" 1<>"$state.rc.new" && mv "$state.rc.new" "$state.rc"
if [ "$last" = yes ]; then
    (unset STRATUS_RUN && exec sh "$folder/bin/cancel.sh" "$folder" helpers >/dev/null 2>&1)
    # The keys of a mesh give access to the other hosts: they are removed with the run.
    [ ! -e "$folder/mesh" ] || rm -rf "$folder/mesh"
fi
[ "$role" = main ] && [ -s "$folder/results" ] && sh "$folder/bin/results.sh" "$folder"
[ "$role" = main ] && [ -s "$folder/notify" ] && sh "$folder/bin/notify.sh" "$folder" "$([ "$rc" = 0 ] && echo "done" || echo failed)"
