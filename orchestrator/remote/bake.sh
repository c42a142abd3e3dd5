#!/bin/sh
# Removes everything but installed software from the disk of this host, while an image of the disk is made.
#
#   sh bake.sh BUNDLE prepare TOKEN OWNER SECONDS [drop]   drop: also ended runs with their outputs, for good
#   sh bake.sh BUNDLE check   TOKEN OWNER SECONDS [drop]   as prepare, without changing anything
#   sh bake.sh BUNDLE restore TOKEN
#
# prepare prints "@@busy WHAT" for what still works here and "@@run RUN" for each ended run, and changes nothing then; or
# "@@cannot REASON"; else "@@ready". Keys, credentials, histories and the state of cloud-init are kept in memory until
# restore, or for SECONDS: the host stays what it is. Uploaded code and data, logs and temporary files are deleted.
# OWNER is the computer that asks: it replaces a preparation of its own, whose shell has ended, and no other.
# restore prints "@@late restored" if the host came back before, "@@cannot REASON", or "@@restored".
set -u
bundle=$1 mode=$2 token=$3
PATH=$PATH:/usr/sbin:/sbin
export PATH
# Below / on a VM; a host that is a folder has everything below that folder, and needs no root.
case $HOME in */home/*) root=${HOME%/home/*} ;; *) root= ;; esac
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || { rm -rf "$bundle"; echo "@@cannot sudo is not allowed here"; exit 0; }
    exec sudo -n env HOME="$HOME" sh "$bundle/bake.sh" "$@"
fi
trap 'rm -rf "$bundle"' EXIT
stash=/dev/shm/stratus-bake.$(echo "$HOME" | cksum | cut -d' ' -f1)
stratus=$HOME/stratus home=${HOME#"$root/"}
most_mib=256

come_back() { # before the timer of the preparation, which is ended
    timer=$(cat "$stash/timer" 2>/dev/null)
    sh "$stash/restore.sh"
    [ -z "$timer" ] || kill -- "-$timer" 2>/dev/null
}

if [ "$mode" = restore ]; then
    [ "$(cat "$stash/token" 2>/dev/null)" = "$token" ] || { echo "@@late restored"; exit 0; }
    come_back
    [ -e "$stash" ] && echo "@@cannot the files in $stash could not be put back" || echo "@@restored"
    exit 0
fi
computer=$4 seconds=$5 drop=${6:-}

works() { # prints what must not be cut off, or lost
    [ ! -e "$stash/restore.sh" ] || [ "$(cat "$stash/owner" 2>/dev/null)" = "$computer" ] || echo "@@busy image"
    for pid in "$stratus"/runs/*/state/*.pid; do
        [ -s "$pid" ] && [ ! -e "${pid%.pid}.rc" ] && kill -0 "$(cat "$pid")" 2>/dev/null || continue
        run=${pid%/state/*}
        echo "@@busy run ${run##*/}"
    done | sort -u
    for name in jupyter tensorboard; do
        grep -laz "^$stratus/venvs/.$name/" /proc/[0-9]*/cmdline 2>/dev/null | grep -q . && echo "@@busy $name"
    done
    for lock in "$stratus"/state/install.lock "$stratus"/state/send-*.lock; do
        if command -v flock >/dev/null 2>&1 && [ -e "$lock" ]; then
            flock -n "$lock" true || case $lock in */send-*) echo "@@busy Send" ;; *) echo "@@busy install" ;; esac
        fi
    done | sort -u
    [ -n "$drop" ] && return
    for job in "$stratus"/runs/*/job.json; do
        folder=${job%/job.json}
        [ ! -e "$job" ] || echo "@@run ${folder##*/}"
    done
}

kept() { # prints the paths, below the root, that come back after the image was made
    cd "$root/" || return
    for path in etc/ssh/ssh_host_* etc/machine-id var/lib/cloud var/lib/systemd/random-seed \
        var/lib/stratus/until var/lib/stratus/used var/lib/stratus/seen var/lib/stratus/graced var/lib/stratus/limits \
        root/.ssh root/.aws root/.docker root/.netrc root/.bash_history root/.python_history root/.config/pip; do
        [ -e "$path" ] || [ -L "$path" ] && echo "$path"
    done
    for name in .ssh .aws .azure .oci .kube .boto .s3cfg .docker .netrc .git-credentials .gitconfig .pypirc .npmrc .condarc \
        .Renviron .htpasswd .pgpass .my.cnf .password-store .databrickscfg .dockercfg .vault-token .gnupg .env .envrc .pip \
        .kaggle .huggingface .wandb .jupyter .ipython .local/share/jupyter .config/pip .config/gh .config/gcloud \
        .config/rclone .config/wandb .config/huggingface .cache/huggingface/token .cache/huggingface/stored_tokens \
        .vscode-server/data .cursor-server/data .bash_history .zsh_history .sh_history .history .python_history .lesshst \
        .viminfo .mysql_history .psql_history .node_repl_history .sqlite_history .wget-hsts .local/share/fish; do
        [ -e "$home/$name" ] || [ -L "$home/$name" ] && echo "$home/$name"
    done
}

overwrite() { # PATH...: deletes small files so that the snapshot does not hold their old blocks
    find "$@" -xdev -type f -size -4096k -exec shred -n 1 -u {} + 2>/dev/null
    rm -rf "$@"
}

fail() { # REASON: puts everything back
    come_back >/dev/null 2>&1
    echo "@@cannot $1"
    exit 0
}

working=$(works)
[ -z "$working" ] || { echo "$working"; exit 0; }
[ "$mode" != check ] || { echo "@@ready"; exit 0; }
# Left by an earlier one that lost its connection.
[ ! -e "$stash/restore.sh" ] || come_back
umask 077
rm -rf "$stash" && mkdir -m 700 "$stash" && echo "$token" >"$stash/token" && echo "$computer" >"$stash/owner" ||
    { echo "@@cannot no room in memory (/dev/shm)"; exit 0; }
kept >"$stash/paths"
mib=$(cd "$root/" && tr '\n' '\0' <"$stash/paths" | du -smc --files0-from=- 2>/dev/null | tail -n 1 | cut -f1)
if [ "${mib:-0}" -gt "$most_mib" ]; then
    big=$(cd "$root/" && tr '\n' '\0' <"$stash/paths" | du -sm --files0-from=- | sort -n | tail -n 1 | cut -f2)
    rm -rf "$stash"
    echo "@@cannot /$big has credentials or histories, and more than $most_mib MiB: move it away"
    exit 0
fi
tar -C "$root/" --files-from="$stash/paths" -cpf "$stash/kept.tar" 2>/dev/null || {
    rm -rf "$stash"
    echo "@@cannot no room in memory (/dev/shm)"
    exit 0
}
cat >"$stash/restore.sh" <<RESTORE
tar -C '$root/' -xpf '$stash/kept.tar' || exit 1
if command -v restorecon >/dev/null 2>&1 && [ -z '$root' ]; then
    (cd / && xargs -d '\n' restorecon -R <'$stash/paths') >/dev/null 2>&1
fi
rm -rf '$stash'
RESTORE
# Should the caller vanish in between, the host comes back by itself; but not during a later preparation.
setsid sh -c 'sleep "$1"; [ "$(cat "$2/token")" != "$3" ] || sh "$2/restore.sh"' sh "$seconds" "$stash" "$token" \
    </dev/null >/dev/null 2>&1 &
echo $! >"$stash/timer"

cd "$root/" || fail "no $root"
# Host keys last: until then a new connection still finds them.
while IFS= read -r path; do
    overwrite "$path" || fail "/$path cannot be removed"
done <"$stash/paths"
[ -n "$root" ] || : >/etc/machine-id
chmod 644 etc/machine-id 2>/dev/null
if ids=$(docker ps -aq --filter label=stratus.run 2>/dev/null) && [ -n "$ids" ]; then
    # Those of this host's runs: other hosts may share the engine.
    # shellcheck disable=SC2086  # several words on purpose
    docker inspect --format '{{.Id}}{{range .Config.Env}} {{.}}{{end}}' $ids 2>/dev/null |
        sed -n "s|^\([0-9a-f]*\) .*STRATUS_FOLDER=$stratus/runs/.*|\1|p" |
        while read -r id; do docker rm -f "$id" >/dev/null 2>&1; done
fi
# Runs hold keys of their clusters and variables that may be secret; environments and programs are all that stays.
find "$stratus/runs" -type f \( -path '*/tls/*' -o -path '*/task/*' -o -name '*key*' \) -exec shred -n 1 -u {} + 2>/dev/null
for path in "$stratus"/* "$stratus"/.[!.]*; do
    case $path in
    "$stratus"/venvs | "$stratus"/bin | "$stratus"/tools | "$stratus"/conda | "$stratus"/state | "$bundle") ;;
    *) rm -rf "$path" || fail "$path cannot be removed" ;;
    esac
done
# Their indexes are named by addresses, which may hold a password.
rm -rf "$home/.cache/pip" "$home/.cache/uv"
for path in "$stratus"/state/*; do
    [ "$path" = "$stratus/state/ca.pem" ] || rm -rf "$path"
done
owner=$(stat -c %u "$HOME")
if [ -n "$root" ] || [ "$owner" != 0 ]; then
    for folder in tmp var/tmp; do
        [ ! -d "$folder" ] || find "$folder" -xdev -mindepth 1 -user "$owner" -delete 2>/dev/null
    done
fi
if [ -d var/log ]; then
    [ -n "$root" ] || journalctl --rotate >/dev/null 2>&1
    find var/log -path 'var/log/journal/*' -name '*@*' -type f -delete 2>/dev/null
    find var/log -type f ! -path 'var/log/journal/*' -exec truncate -s 0 {} + 2>/dev/null
fi
rm -f var/lib/dhcp/*.leases 2>/dev/null
rm -rf "$bundle"
sync
echo "@@ready"
