#!/bin/sh
# Receives a folder from the client.   parcel.sh check|apply NAME DIGEST DEST
# It is requested only if the digest differs, and then only the contents that this host lacks (parcel.py). If the folder
# is as the last upload has left it, an edit is not even requested: BUNDLE/change/NAME has it (base: digest of that
# upload, or -; sums: SHA-256 of each file; files/).
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 name=$2 digest=$3 dest="$STRATUS_ROOT/$4"
mark="$STRATUS_ROOT/state/parcel-$name" change="$STRATUS_BUNDLE/change/$name"
seen="$mark.seen"

present() { # sets have: the digest of what is here
    have=
    read -r have 2>/dev/null <"$mark"
    [ -d "$dest" ]
}

seal() { # prints a digest of all by which a change of the folder shows: ctime cannot be set back
    # Not every find has -printf.
    list=$(find "$dest" -printf '%P %i %s %m %U %T@ %C@ %l\n' 2>/dev/null) && printf '%s' "$list" | sha256sum
}

edit() { # makes the last upload this one; fails if it was changed here since
    base='' sealed=''
    read -r base 2>/dev/null <"$change/base"
    read -r sealed 2>/dev/null <"$seen"
    present && [ "$base" = "$have" ] && [ -n "$sealed" ] && [ "$sealed" = "$(seal)" ] || return
    (cd "$change/files" && sha256sum --quiet -c ../sums) >/dev/null 2>&1 || return
    rm -f "$mark" "$seen"
    # Not into the files: other uploads and runs may share them.
    cp -a --remove-destination "$change/files/." "$dest/"
}

user() { # PATH: prints a run in progress whose working directory links to that data
    for pid in "$STRATUS_ROOT"/runs/*/state/*.pid; do
        run=${pid%/state/*}
        [ -s "$pid" ] && [ ! -e "${pid%.pid}.rc" ] && kill -0 "$(cat "$pid")" 2>/dev/null &&
            grep -qF -- "\"$1=" "$run/job.json" && echo "${run##*/}" && return
    done
    return 1
}

case $mode in
check)
    present && [ "$have" = "$digest" ]
    ;;
apply)
    python=$(command -v python3) || fail "no python3 on this VM, which uploads need" "use an image that has it"
    # The system's own, before one of an environment or a version manager, which start slowly.
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    # A run follows its links: it would read old and new files.
    if [ -d "$dest" ] && run=$(user "$4"); then
        fail "the data has changed, but $run, which goes on, reads the data on this VM" "wait until that run has ended, or cancel it, or use a copy of the data in a folder of another name"
    fi
    # The digest goes before the folder changes: between the two, the old one would stand for a new folder.
    edit || { rm -f "$mark" "$seen" && "$python" -I -S -B -X utf8 "$STRATUS_BUNDLE/parcel.py" "$name" "$dest"; } || exit
    [ ! -e "$change/base" ] || seal >"$seen"
    printf '%s\n' "$digest" >"$mark"
    ;;
esac
