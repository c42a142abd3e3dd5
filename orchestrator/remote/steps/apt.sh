#!/bin/sh
# Installs packages of the distribution.   apt.sh PACKAGE...
# After a boot unattended-upgrades holds the locks for minutes, and NTP may not have set the clock: both are reported and
# waited for, up to a deadline. Locks are never removed, and their holders never ended.
set -u
packages="$*"
. "$STRATUS_BUNDLE/steps/common.sh"
timeout=${STRATUS_APT_PATIENCE:-600} # seconds
until=$(($(date +%s) + timeout))

give_up() { # with the first obstacle that the last captured output names; else that of the download of indexes
    # apt names the folder, which may be on a disk of its own.
    folder=$(sed -n "s/.*enough free space in \(\/.*\)\.$/\1/p" "$kept" | head -n 1)
    full && no_room "${folder:-/}" "$packages" 0
    unreachable || { problem=$lost server=$lost_server; }
    no_way "package mirror" "$packages"
    exit 1
}

obstacle() { # sets obstacle, still and remedy if the last captured output names one that passes
    if grep -q 'Could not get lock\|Unable to lock\|lock was locked by' "$kept"; then
        holder=$(sed -n 's/.*held by process \([0-9]*\) (\(.*\)).*/\2, pid \1/p' "$kept" | head -n 1)
        obstacle="another apt runs here (${holder:-unknown process})"
        still="another apt still runs here after $timeout s (${holder:-unknown process})"
        remedy="InstallDeps() again when it is done"
    elif grep -q 'is not valid yet' "$kept"; then
        obstacle="the clock of this VM is behind, and NTP has not set it yet"
        still="the clock of this VM is still behind after $timeout s, so that $packages cannot be installed"
        remedy="timedatectl  on that host shows the state of NTP; InstallDeps() again when the clock is right"
    else
        return 1
    fi
}

apt() { # SECONDS ARGUMENT...: SECONDS is a deadline, 0 for none
    reported= bound=$1
    shift
    # LC_ALL: messages are parsed. NEEDRESTART_SUSPEND: needrestart would restart services, maybe under a job.
    until keep sudo -n env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C timeout "$bound" \
        apt-get -qy -o Acquire::Retries=3 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"; do
        obstacle || return 1
        [ "$(date +%s)" -lt "$until" ] || fail "$still" "$remedy"
        [ "$obstacle" = "$reported" ] || say "$obstacle: waiting"
        reported=$obstacle
        sleep 2
    done
}

lost= lost_server=
sudo -n timeout "$timeout" cloud-init status --wait >/dev/null 2>&1
if command -v apt-get >/dev/null 2>&1; then
    # Without the option (apt 2.1.9 and later), apt succeeds when no index could be downloaded. One that is missing
    # counts if the packages are missing then: it may be that of another repository. The deadline is for mirrors that
    # do not answer: apt tries each address of each of them, for each index.
    apt "${STRATUS_APT_UPDATE_S:-180}" -o APT::Update::Error-Mode=any update || ! full || give_up
    unreachable && lost=$problem lost_server=$server
    apt 0 install "$@" || give_up
elif command -v dnf >/dev/null 2>&1; then
    # dnf waits for its lock itself.
    keep sudo -n env LC_ALL=C timeout "$timeout" dnf -q -y install "$@" && exit
    holder=$(sed -n 's/.*[Ww]aiting for process with pid \([0-9]*\).*/pid \1/p' "$kept" | head -n 1)
    [ -z "$holder" ] || fail "another dnf still runs here after $timeout s ($holder)" "InstallDeps() again when it is done"
    give_up
else
    fail "neither apt nor dnf on this VM, so that $packages cannot be installed" \
        "set [cluster] image to Ubuntu, Debian, Amazon Linux or Red Hat; or use an AMI that has them"
fi
