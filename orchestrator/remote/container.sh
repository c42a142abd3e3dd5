#!/bin/sh
# Runs a task's command inside the job's image.   container.sh FOLDER ROLE
# The run's folder and the data folders that its links point to are mounted at their own paths, so paths are the same on
# both sides; files belong to the login user, who has a name and a home folder in the container as well.
set -u
folder=$1 role=$2
keep=
docker() {
    if command docker version >/dev/null 2>&1; then
        command docker "$@"
    else # sudo resets the environment of a command
        sudo -n ${keep:+--preserve-env="${keep%,}"} docker "$@"
    fi
}
# Recorded because a tag may point to another image later.
docker image inspect --format '{{.Id}}{{range .RepoDigests}} {{.}}{{end}}' "$STRATUS_IMAGE" >"$folder/state/image.txt" 2>/dev/null
gpus=
command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && gpus="--gpus all"
# Programs look up the current user (PyTorch for its caches), whom the image does not contain.
uid=$(id -u) gid=$(id -g)
home="$folder/home"
# The engine would create a missing folder, owned by root.
mkdir -p "$home" "$HOME/stratus/data"
passwd="$folder/state/$role.passwd"
{
    [ "$uid" -eq 0 ] || echo "root:x:0:0:root:/root:/bin/sh"
    echo "$(id -un):x:$uid:$gid::$home:/bin/sh"
    echo "nobody:x:65534:65534:nobody:/nonexistent:/bin/false"
} >"$passwd"
# Volumes and shared file systems, whose folders have no blanks in their names.
mounts=$(sed -n 's/.*/--volume &:&/p' "$HOME/stratus/state/mounts" 2>/dev/null)
# Names of the task's variables in a file, without values: no value appears in argv. AWS endpoints and the region of the
# VM's environment are passed on as well; keys are not.
names="$folder/state/$role.names"
{
    sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$folder/task/$role.env"
    env | sed -n -e 's/^\(DASK_[A-Z_]*\)=.*/\1/p' -e 's/^\(AWS_[A-Z0-9_]*ENDPOINT[A-Z0-9_]*\)=.*/\1/p' \
        -e 's/^\(AWS_REGION\)=.*/\1/p' -e 's/^\(AWS_DEFAULT_REGION\)=.*/\1/p'
    printf '%s\n' STRATUS_FOLDER STRATUS_SLOTS STRATUS_HOSTFILE STRATUS_CHECKPOINTS PYTHONUNBUFFERED MPLBACKEND
} | sort -u >"$names"
keep=$(tr '\n' , <"$names")
# shellcheck disable=SC2086  # several words on purpose
# --pull never: an image that is missing here must not come from a public registry, where any name can be taken.
docker run --rm --pull never --name "stratus-$STRATUS_RUN-$STRATUS_HOST-$role" --label "stratus.run=$STRATUS_RUN" \
    --network host --shm-size 1g $gpus --user "$uid:$gid" --env "HOME=$home" --env-file "$names" \
    --volume "$folder:$folder" $mounts \
    --volume "$passwd:/etc/passwd:ro" --volume "$HOME/stratus/data:$HOME/stratus/data:ro" \
    --workdir "$folder/workdir" "$STRATUS_IMAGE" sh "$folder/task/$role.cmd"
