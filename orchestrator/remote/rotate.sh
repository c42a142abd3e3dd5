#!/bin/sh
# Replaces the SSH host key of the launch by a key that this host generates.
#
#   rotate.sh stage BOOT        generates a key beside the one in force, unless BOOT is no longer in force
#   rotate.sh adopt BOOT NEW    puts the generated key NEW in force
#
# BOOT and NEW are public keys, "ssh-ed25519 AAAA...". Prints "@@staged KEY", "@@current KEY" (the one in force) or
# "@@cannot REASON". The private key never leaves this host.
set -u
mode=$1 boot=$2 new=${3:-}
PATH=$PATH:/usr/sbin:/sbin
export PATH

cannot() { echo "@@cannot $*"; exit 0; }
current() { $root cut -d' ' -f1,2 "$key.pub"; }

# The key files depend on sshd's configuration; sshd prints it for root, or for a user who can read the keys.
config=$(sshd -T 2>/dev/null || sudo -n sshd -T 2>/dev/null) || cannot "sudo is not allowed here"
key=
for file in $(echo "$config" | sed -n 's/^hostkey //p'); do
    # cloud-init 22 (Debian 12, Amazon Linux 2023) writes public keys that only root may read.
    public=$(cat "$file.pub" 2>/dev/null || sudo -n cat "$file.pub" 2>/dev/null)
    case $public in ssh-ed25519\ *) key=$file ;; esac
done
[ -n "$key" ] || cannot "the SSH server has no ed25519 key"
root=
if [ ! -w "$key" ]; then
    root="sudo -n"
    $root true 2>/dev/null || cannot "sudo is not allowed here"
fi
[ "$(current)" = "$boot" ] || { echo "@@current $(current)"; exit 0; }

starts_for_each_connection() { # ssh.socket with Accept=yes: there is no server to reload
    systemctl is-active --quiet ssh.socket sshd.socket 2>/dev/null &&
        ! systemctl is-active --quiet ssh.service sshd.service
}

case $mode in
stage)
    command -v ssh-keygen >/dev/null 2>&1 || cannot "ssh-keygen is missing"
    draft="$key.stratus-$$"
    message=$($root ssh-keygen -q -t ed25519 -N '' -C '' -f "$draft" 2>&1 </dev/null) || cannot "ssh-keygen: $message"
    # On some systems a group may read host keys: the new file gets the owner and mode of the old one.
    $root chown --reference="$key" "$draft" 2>/dev/null
    $root chmod --reference="$key" "$draft" || { $root rm -f "$draft" "$draft.pub"; cannot "chmod failed"; }
    echo "@@staged $($root cut -d' ' -f1,2 "$draft.pub")"
    ;;
adopt)
    staged=$(grep -lF "$new" "$key".stratus-*.pub 2>/dev/null | head -n 1)
    [ -n "$staged" ] || cannot "the new key is not here any more"
    $root mv -f "${staged%.pub}" "$key" && $root mv -f "$staged" "$key.pub" || cannot "the new key could not be moved"
    command -v restorecon >/dev/null 2>&1 && $root restorecon "$key" "$key.pub" >/dev/null 2>&1
    $root rm -f "$key".stratus-*
    # The unit is ssh on Debian and Ubuntu, sshd elsewhere; without systemd, a signal reloads sshd.
    $root systemctl reload ssh >/dev/null 2>&1 || $root systemctl reload sshd >/dev/null 2>&1 ||
        starts_for_each_connection ||
        $root kill -HUP "$(cat "$(echo "$config" | sed -n 's/^pidfile //p')")" || cannot "sshd could not be reloaded"
    echo "@@current $(current)"
    ;;
esac
