#!/bin/sh
# Runs horovodrun over the hosts of the mesh, or over the slots of this host without one.   horovod.sh FOLDER
# horovodrun puts its whole environment on the command lines of the processes it starts, so it gets a minimal one. Each
# process reads its own in rank.sh.
set -u
folder=$1
sh "$folder/bin/python.sh" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('horovod'))" ||
    { echo "horovod is missing here: add it to the job's requirements, or to its image"; exit 127; }
. "$folder/bin/mesh_env.sh"
if [ -z "${STRATUS_HOST_SLOTS:-}" ]; then
    set -- --gloo -np "$STRATUS_SLOTS"
elif [ -n "${STRATUS_MIN_HOSTS:-}" ]; then
    set -- --gloo -np "$STRATUS_NP" --min-np "$STRATUS_MIN_NP" --host-discovery-script "$folder/bin/alive.sh" \
        --network-interfaces "$STRATUS_INTERFACE" --blacklist-cooldown-range 1 60 --disable-cache
else
    set -- --gloo -np "$STRATUS_NP" -H "$STRATUS_HOST_SLOTS" --network-interfaces "$STRATUS_INTERFACE" --disable-cache
fi
# Horovod prefixes every line with "[RANK]<stdout>:". Lines of rank 0 lose the prefix; the others keep their rank.
lines="$folder/lines"
rm -f "$lines" && mkfifo -m 600 "$lines" || exit 73
sed -u -e 's/^\[0\]<std[a-z]*>://' -e 's/^\[\([0-9]*\)\]<std[a-z]*>:/rank \1: /' <"$lines" &
reader=$!
env -i PATH="$PATH" HOME="$HOME" PYTHONUNBUFFERED=1 STRATUS_RUN="$STRATUS_RUN" STRATUS_HOST="$STRATUS_HOST" \
    STRATUS_HEAD_FOLDER="$folder" sh "$folder/bin/python.sh" -m horovod.runner.launch "$@" \
    sh -c 'exec sh "${STRATUS_FOLDER:-$STRATUS_HEAD_FOLDER}/bin/rank.sh"' >"$lines" 2>&1
rc=$?
# A leftover process may keep the pipe open: the last lines get two seconds.
(sleep 2 && kill "$reader") >/dev/null 2>&1 &
wait "$reader"
rm -f "$lines"
exit "$rc"
