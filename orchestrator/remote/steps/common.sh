# Sourced by the steps: words for the caller, output that is kept as well as shown, a look at the disk, the engine.
#   @@say TEXT   worth showing at once     @@fix TEXT   what to type or edit after a failure
kept="$STRATUS_BUNDLE/said"

say() { echo "@@say $*"; }

fail() { # WHAT FIX
    echo "@@fix $2"
    echo "$1"
    exit 1
}

keep() { # COMMAND...: runs it; what it says is also in $kept; returns its status
    { "$@" 2>&1; echo $? >"$kept.rc"; } | tee "$kept"
    return "$(cat "$kept.rc")"
}

disk() { # FOLDER: KiB in all and free, of the disk that it lies on
    df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $2, $4 }'
}

size() { # KiB, in words
    echo "$1" | awk '{ if ($1 < 1000000) printf "%.0f MB", $1 * 1.024e-3; else printf "%.1f GB", $1 * 1.024e-6 }'
}

no_room() { # FOLDER WHAT KIB-NEEDED (0: nobody knows): fails with one line, and the size that would do
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

full() { # whether what was said last names a full disk
    grep -qi 'no space left on device' "$kept"
}

# The group of a user who was added to it just now counts from the next login on; until then sudo does.
engine() { # finds out how the engine can be used, and for which architecture it runs images
    sudo=
    arch=$(command docker version --format '{{.Server.Arch}}' 2>/dev/null) && return
    sudo="sudo -n"
    arch=$(sudo -n docker version --format '{{.Server.Arch}}' 2>/dev/null)
}
docker() { ${sudo:-command} docker "$@"; }
