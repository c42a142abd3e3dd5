# Sourced by the steps: messages to the caller, captured output, free disk space, uv, the container engine.
#   @@say TEXT   to be shown at once     @@fix TEXT   what to type or edit after a failure
kept="$STRATUS_BUNDLE/said"

say() { echo "@@say $*"; }

fail() { # WHAT FIX
    echo "@@fix $2"
    echo "$1"
    exit 1
}

keep() { # COMMAND...: runs it, with its output also in $kept; returns its status
    { "$@" 2>&1; echo $? >"$kept.rc"; } | tee "$kept"
    return "$(cat "$kept.rc")"
}

disk() { # FOLDER: prints total and free KiB of its disk
    df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $2, $4 }'
}

size() { # KIB: prints it in MB or GB
    echo "$1" | awk '{ if ($1 < 1000000) printf "%.0f MB", $1 * 1.024e-3; else printf "%.1f GB", $1 * 1.024e-6 }'
}

no_room() { # FOLDER WHAT KIB-NEEDED (0: unknown): fails with one line, and a sufficient disk size
    disk=$(disk "$1")
    all=${disk% *} free=${disk#* }
    if [ "$3" -gt 0 ]; then
        line="no room for $2: $(size "$3") needed, $(size "$free") free on the disk of $(size "$all")"
        gib=$(((all - free + $3) / 1048576 + 2))
    else
        line="the disk is full: $2 did not fit, $(size "$free") free of $(size "$all")"
        gib=$((all / 524288 + 2))
    fi
    fail "$line" "set [disk] size = $gib (GiB) in the config, then TerminateAll() and LaunchInstances()"
}

full() { # true if the last captured output mentions a full disk; apt and dnf compare the sizes before they begin
    grep -qi "no space left on device\|don't have enough free space in\|more space needed on the\|more space on the" "$kept"
}

unreachable() { # sets problem (dns or way) and server if the last captured output, of apt, dnf or pip, names a failed download
    server=$(sed -n "
        s|.*[Ff]ailed to fetch [a-z+]*://\([^/ ]*\).*|\1|p
        s|.*[Cc]url error.* for [a-z]*://\([^/ ]*\).*|\1|p
        s,^\(Ign\|Err\):[0-9]* [a-z+]*://\([^/ ]*\).*,\2,p
        s|.*host='\([^']*\)', port=.*|\1|p" "$kept" | head -n 1)
    if grep -qi "temporary failure resolving\|could not resolve\|couldn't resolve\|in name resolution\|name or service not known\|failed to resolve '" "$kept"; then
        problem=dns
    elif [ -n "$server" ] || grep -qi 'some index files failed\|errors during downloading metadata\|failed to establish a new connection\|connection to .* timed out' "$kept"; then
        problem=way
    else
        return 1
    fi
}

no_way() { # KIND WHAT: fails with one line after unreachable, if that has set a problem
    case $problem in
    dns)
        fail "this VM cannot resolve names (DNS), ${server:-the $1} for one, so that $2 cannot be installed" \
            "turn on DNS in the VPC of [aws] subnet_id (enableDnsSupport, DHCP options), then InstallDeps() again"
        ;;
    way)
        fail "no way to the $1${server:+ $server}, so that $2 cannot be installed: no NAT in the subnet?" \
            "check that [aws] subnet_id has a route to it (NAT, internet gateway, VPC endpoint), then InstallDeps() again"
        ;;
    esac
}

tools="$STRATUS_ROOT/tools"
present_uv() { # sets uv: a faster pip, if this host has it
    [ "${STRATUS_UV:-yes}" = yes ] || return 1
    for uv in "$tools/bin/uv" "$HOME/.local/bin/uv" "$(command -v uv 2>/dev/null)"; do
        [ -x "$uv" ] && return
    done
    return 1
}

# Membership in a group takes effect at the next login; until then the engine needs sudo.
engine() { # sets sudo and arch: how to call the engine, and the architecture of its images
    sudo=
    arch=$(command docker version --format '{{.Server.Arch}}' 2>/dev/null) && return
    sudo="sudo -n"
    arch=$(sudo -n docker version --format '{{.Server.Arch}}' 2>/dev/null)
}
docker() { ${sudo:-command} docker "$@"; }
