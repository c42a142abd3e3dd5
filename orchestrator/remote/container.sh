#!/bin/sh
# The task's command inside the job's image.   container.sh FOLDER ROLE
# The run's folder is mounted at its own path, as are the data folders its links point to, so every path means the same
# on both sides; files belong to the login user, who has a name and a home folder in there as well.
set -u
folder=$1 role=$2
keep=
docker() {
    if command docker version >/dev/null 2>&1; then
        command docker "$@"
    else # sudo gives a command an environment of its own
        sudo -n ${keep:+--preserve-env="${keep%,}"} docker "$@"
    fi
}
# What really ran: a tag may point elsewhere tomorrow.
docker image inspect --format '{{.Id}}{{range .RepoDigests}} {{.}}{{end}}' "$STRATUS_IMAGE" >"$folder/state/image.txt" 2>/dev/null
gpus=
command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && gpus="--gpus all"
# Programs ask who they run as (PyTorch does for its caches), and an image knows nothing of this user.
uid=$(id -u) gid=$(id -g)
home="$folder/home"
# The engine would make a folder that is missing, and root would own it.
mkdir -p "$home" "$HOME/stratus/data"
passwd="$folder/state/$role.passwd"
{
    [ "$uid" -eq 0 ] || echo "root:x:0:0:root:/root:/bin/sh"
    echo "$(id -un):x:$uid:$gid::$home:/bin/sh"
    echo "nobody:x:65534:65534:nobody:/nonexistent:/bin/false"
} >"$passwd"
# The names of the task's variables, in a file, without values: none stands in argv. Where the VM's environment says at
# which endpoints and in which region AWS is, that holds inside, too; keys are not among it.
names="$folder/state/$role.names"
{
    sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$folder/task/$role.env"
    env | sed -n -e 's/^\(DASK_[A-Z_]*\)=.*/\1/p' -e 's/^\(AWS_[A-Z0-9_]*ENDPOINT[A-Z0-9_]*\)=.*/\1/p' \
        -e 's/^\(AWS_REGION\)=.*/\1/p' -e 's/^\(AWS_DEFAULT_REGION\)=.*/\1/p'
    printf '%s\n' STRATUS_FOLDER STRATUS_SLOTS STRATUS_HOSTFILE PYTHONUNBUFFERED MPLBACKEND
} | sort -u >"$names"
keep=$(tr '\n' , <"$names")
# shellcheck disable=SC2086  # several words on purpose
# A name that is not here must not be looked for elsewhere: anybody may publish an image of any name.
docker run --rm --pull never --name "stratus-$STRATUS_RUN-$STRATUS_HOST-$role" --label "stratus.run=$STRATUS_RUN" \
    --network host --shm-size 1g $gpus --user "$uid:$gid" --env "HOME=$home" --env-file "$names" \
    --volume "$folder:$folder" \
    --volume "$passwd:/etc/passwd:ro" --volume "$HOME/stratus/data:$HOME/stratus/data:ro" \
    --workdir "$folder/workdir" "$STRATUS_IMAGE" sh "$folder/task/$role.cmd"
