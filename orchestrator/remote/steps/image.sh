#!/bin/sh
# The job's container image: pulled, or built from the job's own Dockerfile.
#
#   image.sh check|apply pull IMAGE REGISTRY USER
#   image.sh check|apply build TAG REGISTRY USER FOLDER
#
# REGISTRY and USER: whom to log in to before; empty: nobody. The password is asked for (@@want login) and comes on
# standard input: a line with its length, then that many bytes. It goes straight into docker login, whose file lies in
# memory, for as long as this script runs. FOLDER lies below ~/stratus; build.env in the bundle holds the arguments of
# the build, NAME='value'; ca.pem in the bundle goes with the folder. Says "@@image ID NAME@DIGEST...".
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 how=$2 image=$3 registry=$4 user=$5 folder=${6:-}
exec 5<&0 </dev/null
# Compressed layers -> what they take while they are unpacked.
growth=5/2
# Nobody knows how much a build takes, or an image whose registry does not tell: less than this is too little for any.
floor=$((2 * 1048576))
engine

case $image in
*/*) host=${image%%/*} ;;
*) host= ;;
esac
case $host in *.* | *:*) ;; *) host=docker.io ;; esac

present() { # whether the image is here, for this machine's architecture
    found=$(docker image inspect --format '{{.Architecture}} {{.Id}}{{range .RepoDigests}} {{.}}{{end}}' -- "$image" 2>/dev/null) &&
        [ "${found%% *}" = "$arch" ] && echo "@@image ${found#* }"
}

log_in() {
    [ -n "$registry" ] && [ -z "$config" ] || return 0
    place=$STRATUS_BUNDLE
    [ -w /dev/shm ] && place=/dev/shm
    mine=stratus-login.$(echo "$STRATUS_ROOT" | cksum | cut -d' ' -f1)
    # What was not removed when the machine, or this script, was ended from outside.
    ${sudo:-command} rm -rf "$place/$mine".*
    config=$(mktemp -d "$place/$mine.XXXXXX") || exit 1
    trap '${sudo:-command} rm -rf "$config"' EXIT
    trap 'exit 143' HUP INT TERM
    echo "@@want login"
    IFS= read -r length <&5 || exit 1
    head -c "$length" <&5 | client login --username "$user" --password-stdin "$registry" >"$kept" 2>&1 && return
    cat "$kept"
    rm -rf "$config"
    config=
    return 1
}

# Without a login of ours the machine's own may do: a helper that its image came with.
client() { docker ${config:+--config "$config"} "$@"; }

trust() { # certificates of a network of its own, for the engine: of the registries that it is going to ask
    [ -s "$STRATUS_BUNDLE/ca.pem" ] || return 0
    bases=$(sed -n "s|^[A-Za-z0-9_]*='\{0,1\}\([a-z0-9-]*\.[a-z0-9.:-]*\)/.*|\1|p" "$STRATUS_BUNDLE/build.env" 2>/dev/null)
    for each in $host $registry $bases; do
        [ "$each" = docker.io ] && each=registry-1.docker.io
        cmp -s "$STRATUS_BUNDLE/ca.pem" "/etc/docker/certs.d/$each/stratus.crt" ||
            sudo -n install -D -m 644 "$STRATUS_BUNDLE/ca.pem" "/etc/docker/certs.d/$each/stratus.crt" 2>/dev/null ||
            echo "sudo is not allowed here: the engine does not learn of [install] ca_bundle for $each"
    done
}

layers() { # ARCHITECTURE DIGEST BYTES of every layer that the registry tells of, for all architectures of the image
    # Over plain http, which the engine may allow, without a login: what is sent there anybody can read.
    { $sudo timeout 60 docker ${config:+--config "$config"} manifest inspect --verbose -- "$image" ||
        $sudo timeout 60 docker --config "$STRATUS_BUNDLE/nobody" manifest inspect --insecure --verbose -- "$image"; } 2>/dev/null |
        awk '
            /"Ref":/ { arch = "?"; inside = 0 }
            /"architecture":/ && arch == "?" { split($0, word, "\""); arch = word[4] }
            /"layers":/ { inside = 1 }
            inside && /"size":/ { size = $2 + 0 }
            inside && /"digest":/ { split($0, word, "\""); print arch, substr(word[4], 8, 12), size }' >"$kept.layers"
}

fits() { # the machine has the architecture, and the disk the room
    grep -q '^[^?]' "$kept.layers" && ! grep -q "^$arch " "$kept.layers" && other
    needed=$(awk -v arch="$arch" -v growth="$growth" '
        BEGIN { split(growth, part, "/") }
        $1 == arch || $1 == "?" { sum += $3 }
        END { printf "%d", sum / 1024 * part[1] / part[2] }' "$kept.layers")
    room "${needed:-0}"
}

room() { # KIB, 0 when nobody knows
    root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
    disk=$(disk "${root:-/}")
    needed=$1
    [ "$needed" -gt 0 ] || needed=$floor
    [ -z "$disk" ] || [ "${disk#* }" -ge "$needed" ] || no_room "$root" "$image" "$needed"
}

other() {
    fail "$image has no image for this machine's architecture, $arch" \
        "name one for $arch in job.ini, or set a [cluster] instance_type of the other architecture"
}

pull() {
    all=0 done=0 bytes=0
    told=$(awk -v arch="$arch" '$1 == arch || $1 == "?" { n++; sum += $3 } END { printf "%d %d", n, sum / 1024 }' "$kept.layers")
    count=${told% *} sum=${told#* }
    : >"$kept"
    { client pull -- "$image" 2>&1; echo $? >"$kept.rc"; } | while IFS= read -r line; do
        echo "$line"
        echo "$line" >>"$kept"
        case $line in *": Pulling fs layer" | *": Already exists") all=$((all + 1)) ;; esac
        case $line in
        *": Pull complete" | *": Already exists")
            one=$(sed -n "s/^[^ ]* ${line%%:*} //p" "$kept.layers" | head -n 1)
            done=$((done + 1)) bytes=$((bytes + ${one:-0} / 1024))
            amount=
            [ "$count" -gt 0 ] && all=$count amount=" ($(size "$bytes") of $(size "$sum"))"
            say "pulled $done of $all layers$amount"
            ;;
        esac
    done
    return "$(cat "$kept.rc")"
}

build() {
    context=$(mktemp -d "$STRATUS_ROOT/.build.XXXXXX") || exit 1
    # Links instead of copies: a folder with data in it is as quick as one without.
    cp -al "$STRATUS_ROOT/$folder/." "$context/" 2>/dev/null || cp -R "$STRATUS_ROOT/$folder/." "$context/" || exit 1
    if [ -s "$STRATUS_BUNDLE/ca.pem" ]; then
        rm -f "$context/ca.pem"
        cp "$STRATUS_BUNDLE/ca.pem" "$context/ca.pem"
    fi
    # Nobody else can read what lies on this machine; in the image root has it, and the job runs as the login user.
    chmod -R go+rX "$context"
    names=$(sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$STRATUS_BUNDLE/build.env" 2>/dev/null)
    : >"$kept"
    { built; echo $? >"$kept.rc"; } 2>&1 | while IFS= read -r line; do
        echo "$line"
        echo "$line" >>"$kept"
        case $line in "Step "*/*) say "$line" ;; esac
    done
    rm -rf "$context"
    return "$(cat "$kept.rc")"
}

built() ( # values of arguments are taken from this environment, not from argv
    set -a
    [ -z "$names" ] || . "$STRATUS_BUNDLE/build.env"
    # shellcheck disable=SC2046,SC2086  # several words on purpose
    ${sudo:+sudo -n --preserve-env=$(echo $names | tr ' ' ,)} env docker ${config:+--config "$config"} build --tag "$image" \
        $(for name in $names; do echo "--build-arg $name"; done) "$context"
)

why() { # what went wrong between this machine and the registry, in a word; from what was said
    # A command of the Dockerfile says such things of other servers.
    if grep -q 'returned a non-zero code\|did not complete successfully' "$kept"; then
        echo command
        return
    fi
    tr 'A-Z\n' 'a-z ' <"$kept" | {
        IFS= read -r said
        case $said in
        *toomanyrequests* | *"429 too many"* | *"rate limit"*) echo limited ;;
        *"no matching manifest"* | *"does not match the specified platform"*) echo other ;;
        *denied* | *unauthorized* | *"no basic auth"* | *forbidden*) echo denied ;;
        *"manifest unknown"* | *"name unknown"* | *"not found"*) echo missing ;;
        *x509* | *"tls: failed to verify"*) echo untrusted ;;
        *"http response to https client"*) echo plain ;;
        *timeout* | *"no such host"* | *"connection refused"* | *"deadline exceeded"* | *"connection reset"* | \
            *unreachable* | *"no route to host"* | *misbehaving* | *"temporary failure"* | *": eof"*) echo silent ;;
        *"does not match"* | *"verification failed"*) echo altered ;;
        esac
    }
}

explain() {
    case $1 in
    limited)
        fail "$host: its limit of pulls is reached (toomanyrequests), three tries" \
            "log in: [install] registry = $host, registry_user, registry_password_env; or name a copy elsewhere (ECR) in job.ini"
        ;;
    other) other ;;
    denied)
        [ -n "$registry" ] && fail "$registry refuses the login of $user, or $user may not have $image (denied)" \
            "look at [install] registry_user, and at what registry_password_env names; for ECR at its permissions"
        fail "$host wants a login for $image, or has no such image (denied)" \
            "set [install] registry = $host, registry_user and registry_password_env; or correct image in job.ini"
        ;;
    missing) fail "the registry $host has no $image (manifest unknown)" "correct image in job.ini: its name, its tag" ;;
    untrusted) fail "$host has a certificate that this machine does not trust" "set [install] ca_bundle to the file of its CA" ;;
    plain) fail "$host speaks plain http, which the engine refuses" "give the registry a certificate; [install] ca_bundle names its CA" ;;
    silent)
        fail "the registry $host does not answer this machine, three tries: $(tail -n 1 "$kept" | cut -c 1-160)" \
            "see whether [aws] subnet_id has a way to it (NAT, internet gateway, VPC endpoint), then InstallDeps() again"
        ;;
    altered) fail "what $host sent of $image is not what its digest says" "InstallDeps() again; if it stays so, push the image anew" ;;
    command)
        said=$(grep -i '^ *error[: ]' "$kept" | tail -n 1)
        fail "the Dockerfile did not build: ${said:-$(tail -n 1 "$kept")}" "mend the Dockerfile or its requirements, then InstallDeps() again"
        ;;
    esac
    exit 1
}

attempt() {
    log_in || return
    if [ "$how" = build ]; then
        build
    else
        [ -e "$kept.layers" ] || { layers && fits; }
        pull
    fi
}

case $mode in
check)
    present
    ;;
apply)
    config=
    trust
    [ "$how" = build ] && room 0
    tries=1
    until attempt; do
        full && no_room "$(docker info --format '{{.DockerRootDir}}')" "$image" 0
        problem=$(why)
        case $tries$problem in
        [12]limited | [12]silent) ;;
        *) explain "$problem" ;;
        esac
        # Many machines ask at once: none at the same moment as the others again.
        pause=$((tries * 3 + $(od -An -N1 -tu1 /dev/urandom) % (tries * 3)))
        say "$host: $(tail -n 1 "$kept" | cut -c 1-100); again in $pause s"
        sleep "$pause"
        tries=$((tries + 1))
    done
    [ "$how" = build ] || present >/dev/null || other
    ;;
esac
