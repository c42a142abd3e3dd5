#!/bin/sh
# Installs packages of the distribution.   apt.sh PACKAGE...
# After a boot unattended-upgrades holds the locks for minutes: the holder is reported and waited for, up to a deadline.
# Locks are never removed, and their holders never ended.
set -u
packages="$*"
. "$STRATUS_BUNDLE/steps/common.sh"
timeout=${STRATUS_APT_PATIENCE:-600} # seconds
until=$(($(date +%s) + timeout))

give_up() {
    full && no_room / "$packages" 0
    exit 1
}

apt() {
    reported=
    # LC_ALL: the messages about locks are parsed below.
    until keep sudo -n env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qy -o Acquire::Retries=3 "$@"; do
        grep -q 'Could not get lock\|Unable to lock\|lock was locked by' "$kept" || give_up
        holder=$(sed -n 's/.*held by process \([0-9]*\) (\(.*\)).*/\2, pid \1/p' "$kept" | head -n 1)
        holder=${holder:-unknown process}
        if [ "$(date +%s)" -ge "$until" ]; then
            fail "another apt still runs here after $timeout s ($holder)" "InstallDeps() again when it is done"
        fi
        [ "$holder" = "$reported" ] || say "another apt runs here ($holder): waiting"
        reported=$holder
        sleep 2
    done
}

sudo -n timeout "$timeout" cloud-init status --wait >/dev/null 2>&1
if command -v apt-get >/dev/null 2>&1; then
    apt update
    apt install "$@"
else
    # dnf waits for its lock itself.
    keep sudo -n timeout "$timeout" dnf -q -y install "$@" || give_up
fi
