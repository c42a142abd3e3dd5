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
    if unreachable || [ -n "$lost" ]; then
        fail "no way to the package mirror${mirror:+ $mirror}, so that $packages cannot be installed: no NAT or DNS in the subnet?" \
            "check that [aws] subnet_id has a route to it (NAT, internet gateway, VPC endpoint) and DNS, then InstallDeps() again"
    fi
    exit 1
}

unreachable() { # sets mirror: that of the first failed download in the last captured output, of apt or dnf
    grep -qi 'failed to fetch\|some index files failed\|could not resolve host\|curl error\|errors during downloading metadata' "$kept" || return 1
    mirror=$(sed -n 's|.*[Ff]ailed to fetch [a-z+]*://\([^/ ]*\).*|\1|p; s|.*[Cc]url error.* for [a-z]*://\([^/ ]*\).*|\1|p' "$kept" | head -n 1)
}

apt() {
    reported=
    # LC_ALL: the messages about locks are parsed below.
    until keep sudo -n env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qy -o Acquire::Retries=3 \
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"; do
        grep -q 'Could not get lock\|Unable to lock\|lock was locked by' "$kept" || return 1
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

mirror= lost=
sudo -n timeout "$timeout" cloud-init status --wait >/dev/null 2>&1
if command -v apt-get >/dev/null 2>&1; then
    # Without the option (apt 2.1.9 and later), apt succeeds when no index could be downloaded. One that is missing
    # counts if the packages are missing then: it may be that of another repository.
    apt -o APT::Update::Error-Mode=any update || ! full || give_up
    unreachable && lost=yes
    apt install "$@" || give_up
else
    # dnf waits for its lock itself.
    keep sudo -n env LC_ALL=C timeout "$timeout" dnf -q -y install "$@" || give_up
fi
