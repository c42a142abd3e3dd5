#!/bin/sh
# Stages one run on this host and starts its tasks, detached: they outlive the SSH session.
#
#   sh start.sh BUNDLE RUN CODE VENV RUNTIME [SOURCE=DEST...]
#
# BUNDLE/run holds job.json, task/<role>.{cmd,env}, tls/ and bin/. CODE (below ~/stratus) is copied, so that a later
# upload cannot change a running job; each SOURCE (below ~/stratus) is linked at DEST in the copy.
set -u
bundle=$1 run=$2 code=$3 venv=$4 runtime=$5
shift 5
root="$HOME/stratus"
folder="$root/runs/$run"
trap 'rm -rf "$bundle"' EXIT
umask 077
if [ -e "$folder" ]; then
    echo "@@exists"
    exit 0
fi
if [ "$runtime" = venv ] && [ ! -f "$root/venvs/$venv/.stratus-requirements" ]; then
    echo "@@missing packages of $venv"
    exit 0
fi
image=
for env in "$bundle"/run/task/*.env; do
    # Read by the shell here and below: most of the time of a start is that of processes for small files.
    [ -e "$env" ] || continue
    while IFS= read -r line; do
        case $line in STRATUS_IMAGE=*) image=${line#*=} && break 2 ;; esac
    done <"$env"
done
if [ -n "$image" ] && ! docker image inspect -- "$image" >/dev/null 2>&1 && ! sudo -n docker image inspect -- "$image" >/dev/null 2>&1; then
    echo "@@missing image $image"
    exit 0
fi
for link in "$@"; do
    [ -e "$root/${link%%=*}" ] || { echo "@@missing data ${link#*=}"; exit 0; }
done
[ -d "$root/runs" ] || mkdir -p "$root/runs" || exit 73
# Of an attempt whose host went down: mv would move into it.
[ ! -e "$folder.new" ] || rm -rf "$folder.new" || exit 73
mv "$bundle/run" "$folder.new" && mkdir "$folder.new/log" "$folder.new/state" || exit 73
cp -R "$root/$code" "$folder.new/workdir" 2>/dev/null || mkdir -p "$folder.new/workdir"
for link in "$@"; do
    dest="$folder.new/workdir/${link#*=}"
    mkdir -p "${dest%/*}" && rm -rf "$dest" && ln -s "$root/${link%%=*}" "$dest" || exit 73
done
[ -f "$root/venvs/$venv/.stratus-versions" ] && cp "$root/venvs/$venv/.stratus-versions" "$folder.new/state/versions.txt"
# Moved to its real name when complete: a folder of that name can be run.
mv "$folder.new" "$folder" || exit 73

for pid in "$root"/runs/*/state/*.pid; do
    other=${pid%/state/*}
    [ "$other" != "$folder" ] && [ -s "$pid" ] && [ ! -e "${pid%.pid}.rc" ] && read -r leader <"$pid" && kill -0 "$leader" 2>/dev/null &&
        echo "@@busy ${other##*/}"
done

for cmd in "$folder"/task/*.cmd; do
    role=${cmd##*/}
    role=${role%.cmd}
    # In a session of its own: it gets no hangup, and can be ended as a whole.
    setsid sh "$folder/bin/task.sh" "$folder" "$role" "$root/venvs/$venv" </dev/null >/dev/null 2>&1 &
    echo "@@started $role"
done
[ -s "$folder/limit" ] && setsid sh "$folder/bin/limit.sh" "$folder" "$(cat "$folder/limit")" </dev/null >/dev/null 2>&1 &
[ -s "$folder/checkpoints" ] &&
    setsid sh "$folder/bin/checkpoints.sh" "$folder" "$root/venvs/$venv" loop </dev/null >/dev/null 2>&1 &
# The kind of an instance never changes: spot.sh finds it out once, and writes down the boot in which it holds.
boot=
read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id
read -r not_spot 2>/dev/null <"$root/state/not-spot" && [ -n "$boot" ] && [ "$not_spot" = "$boot" ] && exit 0
setsid sh "$folder/bin/spot.sh" "$folder" "$root/venvs/$venv" </dev/null >/dev/null 2>&1 &
