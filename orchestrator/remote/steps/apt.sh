#!/bin/sh
# Installs packages of the distribution.   apt.sh PACKAGE...
# After a boot unattended-upgrades holds the locks for minutes: whoever holds them is named and waited for, up to a
# deadline. A lock is never removed, and no other process is ever ended for it.
set -u
packages="$*"
. "$STRATUS_BUNDLE/steps/common.sh"
patience=${STRATUS_APT_PATIENCE:-600} # seconds
until=$(($(date +%s) + patience))

broken() {
    full && no_room / "$packages" 0
    exit 1
}

apt() {
    told=
    # LC_ALL: what is said about locks is read below.
    until keep sudo -n env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qy -o Acquire::Retries=3 "$@"; do
        grep -q 'Could not get lock\|Unable to lock\|lock was locked by' "$kept" || broken
        who=$(sed -n 's/.*held by process \([0-9]*\) (\(.*\)).*/\2, pid \1/p' "$kept" | head -n 1)
        who=${who:-it does not say which}
        if [ "$(date +%s)" -ge "$until" ]; then
            fail "another apt still runs here after $patience s ($who)" "InstallDeps() again when it is done"
        fi
        [ "$who" = "$told" ] || say "another apt runs here ($who): waiting"
        told=$who
        sleep 2
    done
}

sudo -n timeout "$patience" cloud-init status --wait >/dev/null 2>&1
if command -v apt-get >/dev/null 2>&1; then
    apt update
    apt install "$@"
else
    # dnf waits for its lock itself.
    keep sudo -n timeout "$patience" dnf -q -y install "$@" || broken
fi
