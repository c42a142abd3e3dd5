#!/bin/sh
# The job's container image: pulled, or built from the job's own Dockerfile.
#
#   image.sh check|apply pull IMAGE REGISTRY USER
#   image.sh check|apply build TAG REGISTRY USER FOLDER
#
# REGISTRY and USER: login before that; empty: none. The password is requested (@@want login) and read from standard
# input: a line with its length, then that many bytes. It is piped into docker login, whose file is in memory while this
# script runs. FOLDER is below ~/stratus; build.env in the bundle holds the build arguments, NAME='value'; ca.pem in the
# bundle is added to the folder. With a file "share" in the bundle, one of several hosts builds, and the others get its
# image: "@@image-source" is answered with "own" or "peer" (parcel.py, image_share.py). Prints "@@image ID NAME@DIGEST...".
set -u
. "$STRATUS_BUNDLE/steps/common.sh"
mode=$1 how=$2 image=$3 registry=$4 user=$5 folder=${6:-}
exec 5<&0 </dev/null
# Factor from compressed layers to the disk space needed to unpack them.
growth=5/2
# Minimum for a build, or an image of unknown size, KiB.
floor=$((2 * 1048576))
containerd=${STRATUS_CONTAINERD:-/var/lib/containerd}
engine

case $image in
*/*) host=${image%%/*} ;;
*) host= ;;
esac
case $host in *.* | *:*) ;; *) host=docker.io ;; esac

present() { # true if the image is here, for this host's architecture
    image_info=$(docker image inspect --format '{{.Architecture}} {{.Id}}{{range .RepoDigests}} {{.}}{{end}}' -- "$image" 2>/dev/null) &&
        [ "${image_info%% *}" = "$arch" ] && echo "@@image ${image_info#* }"
}

log_in() {
    [ -n "$registry" ] && [ -z "$config" ] || return 0
    login_root=$STRATUS_BUNDLE
    [ -w /dev/shm ] && login_root=/dev/shm
    prefix=stratus-login.$(echo "$STRATUS_ROOT" | cksum | cut -d' ' -f1)
    # Left over if the VM or this script was killed.
    ${sudo:-command} rm -rf "$login_root/$prefix".*
    config=$(mktemp -u "$login_root/$prefix.XXXXXX") || exit 1
    # Before the folder exists: a signal in between would leave it behind. mkdir fails if the name exists.
    trap '${sudo:-command} rm -rf "$config"' EXIT
    trap 'exit 143' HUP INT TERM
    mkdir -m 700 "$config" || exit 1
    echo "@@want login"
    IFS= read -r length <&5 || exit 1
    head -c "$length" <&5 | client login --username "$user" --password-stdin "$registry" >"$kept" 2>&1 && return
    cat "$kept"
    rm -rf "$config"
    config=
    return 1
}

# Without this login, the host's own configuration applies: its image may come with a credential helper.
client() { docker ${config:+--config "$config"} "$@"; }

trust() { # the CA of a private network, for each registry that the engine will contact
    [ -s "$STRATUS_BUNDLE/ca.pem" ] || return 0
    bases=$(sed -n "s|^[A-Za-z0-9_]*='\{0,1\}\([a-z0-9-]*\.[a-z0-9.:-]*\)/.*|\1|p" "$STRATUS_BUNDLE/build.env" 2>/dev/null)
    for name in $host $registry $bases; do
        [ "$name" = docker.io ] && name=registry-1.docker.io
        cmp -s "$STRATUS_BUNDLE/ca.pem" "/etc/docker/certs.d/$name/stratus.crt" ||
            sudo -n install -D -m 644 "$STRATUS_BUNDLE/ca.pem" "/etc/docker/certs.d/$name/stratus.crt" 2>/dev/null ||
            echo "sudo is not allowed here: the engine cannot use [install] ca_bundle for $name"
    done
}

layers() { # writes ARCHITECTURE DIGEST BYTES of every layer in the manifest, for all architectures of the image
    # Over plain http, which the engine may allow, without a login: it would be sent unencrypted.
    { $sudo timeout 60 docker ${config:+--config "$config"} manifest inspect --verbose -- "$image" ||
        $sudo timeout 60 docker --config "$STRATUS_BUNDLE/nobody" manifest inspect --insecure --verbose -- "$image"; } 2>/dev/null |
        awk '
            /"Ref":/ { arch = "?"; inside = 0 }
            /"architecture":/ && arch == "?" { split($0, word, "\""); arch = word[4] }
            /"layers":/ { inside = 1 }
            inside && /"size":/ { size = $2 + 0 }
            inside && /"digest":/ { split($0, word, "\""); print arch, substr(word[4], 8, 12), size }' >"$kept.layers"
}

fits() { # true if the image has the host's architecture, and the disk enough room
    grep -q '^[^?]' "$kept.layers" && ! grep -q "^$arch " "$kept.layers" && wrong_architecture
    needed=$(awk -v arch="$arch" -v growth="$growth" '
        BEGIN { split(growth, part, "/") }
        $1 == arch || $1 == "?" { sum += $3 }
        END { printf "%d", sum / 1024 * part[1] / part[2] }' "$kept.layers")
    room "${needed:-0}"
}

image_root() { # prints the folder of images: containerd's own if it is the engine's image store, as from Docker 29 on
    case $(docker info --format '{{.DriverStatus}}' 2>/dev/null) in
    *io.containerd.snapshotter*) [ ! -d "$containerd" ] || { echo "$containerd"; return; } ;;
    esac
    docker info --format '{{.DockerRootDir}}' 2>/dev/null
}

room() { # KIB, 0 if unknown
    root=$(image_root)
    disk=$(disk "${root:-/}")
    needed=$1
    [ "$needed" -gt 0 ] || needed=$floor
    [ -z "$disk" ] || [ "${disk#* }" -ge "$needed" ] || no_room "$root" "$image" "$needed"
}

wrong_architecture() {
    fail "$image has no image for this VM's architecture, $arch" \
        "name one for $arch in job.ini, or set a [cluster] instance_type of the other architecture"
}

pull() {
    all=0 done=0 bytes=0
    totals=$(awk -v arch="$arch" '$1 == arch || $1 == "?" { n++; sum += $3 } END { printf "%d %d", n, sum / 1024 }' "$kept.layers")
    count=${totals% *} sum=${totals#* }
    : >"$kept"
    { client pull -- "$image" 2>&1; echo $? >"$kept.rc"; } | while IFS= read -r line; do
        echo "$line"
        echo "$line" >>"$kept"
        case $line in *": Pulling fs layer" | *": Already exists") all=$((all + 1)) ;; esac
        case $line in
        *": Pull complete" | *": Already exists")
            layer_bytes=$(sed -n "s/^[^ ]* ${line%%:*} //p" "$kept.layers" | head -n 1)
            done=$((done + 1)) bytes=$((bytes + ${layer_bytes:-0} / 1024))
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
    # Hard links instead of copies: data in the folder costs no time.
    cp -al "$STRATUS_ROOT/$folder/." "$context/" 2>/dev/null || cp -R "$STRATUS_ROOT/$folder/." "$context/" || exit 1
    if [ -s "$STRATUS_BUNDLE/ca.pem" ]; then
        rm -f "$context/ca.pem"
        cp "$STRATUS_BUNDLE/ca.pem" "$context/ca.pem"
    fi
    # In the image root owns the files, and the job runs as the login user, who must be able to read them.
    chmod -R go+rX "$context"
    names=$(sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' "$STRATUS_BUNDLE/build.env" 2>/dev/null)
    : >"$kept"
    { run_build; echo $? >"$kept.rc"; } 2>&1 | while IFS= read -r line; do
        echo "$line"
        echo "$line" >>"$kept"
        # Of the classic builder, and of BuildKit: "#7 [2/5] RUN ...", "#7 [stage-1 2/5] RUN ...".
        case $line in
        "Step "*/*) say "$line" ;;
        "#"[0-9]*" ["*[0-9]/[0-9]*"] "*) say "${line#* }" ;;
        esac
    done
    rm -rf "$context"
    return "$(cat "$kept.rc")"
}

run_build() ( # values of build arguments come from this environment, so that they are not in argv
    set -a
    [ -z "$names" ] || . "$STRATUS_BUNDLE/build.env"
    # shellcheck disable=SC2046,SC2086  # several words on purpose
    ${sudo:+sudo -n --preserve-env=$(echo $names | tr ' ' ,)} env docker ${config:+--config "$config"} build --tag "$image" \
        $(for name in $names; do echo "--build-arg $name"; done) "$context"
)

shared="$STRATUS_ROOT/image.share"
python=python3
[ -x /usr/bin/python3 ] && python=/usr/bin/python3

from_peer() { # true if another host has built the image, and it is loaded here
    [ -e "$STRATUS_BUNDLE/share" ] || return 1
    echo "@@image-source"
    IFS= read -r source <&5 || exit 1
    [ "$source" = peer ] || return 1
    say "image from another VM"
    "$python" -I -S -B -X utf8 "$STRATUS_BUNDLE/parcel.py" image "$shared" <&5 &&
        docker load --quiet --input "$shared/image.tar" && present >/dev/null && return
    rm -rf "$shared" "$shared".*
    return 1
}

offer() { # to the hosts that wait; without it, they build their own
    [ -e "$STRATUS_BUNDLE/share" ] && [ "$source" = own ] || return 0
    image_bytes=$(docker image inspect --format '{{.Size}}' -- "$image" 2>/dev/null)
    free=$(disk "$STRATUS_ROOT")
    [ "$((${image_bytes:-0} / 512))" -lt "${free#* }" ] || return 0
    say "passing the image on"
    docker save -- "$image" | "$python" -I -S -B -X utf8 "$STRATUS_BUNDLE/image_share.py" "$shared"
    return 0
}

classify() { # prints the kind of the error, from the captured output
    # Checked first: a failing command of the Dockerfile may print similar messages about other servers.
    if grep -q 'returned a non-zero code\|did not complete successfully' "$kept"; then
        echo command
        return
    fi
    tr 'A-Z\n' 'a-z ' <"$kept" | {
        IFS= read -r output
        case $output in
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
        fail "$host: pull limit reached (toomanyrequests) in three attempts" \
            "log in: [install] registry = $host, registry_user, registry_password_env; or name a copy elsewhere (ECR) in job.ini"
        ;;
    other) wrong_architecture ;;
    denied)
        [ -n "$registry" ] && fail "$registry refuses the login of $user, or $user has no access to $image (denied)" \
            "check [install] registry_user and registry_password_env; for ECR, the permissions of the role"
        fail "$host requires a login for $image, or has no such image (denied)" \
            "set [install] registry = $host, registry_user and registry_password_env; or correct image in job.ini"
        ;;
    missing) fail "the registry $host has no $image (manifest unknown)" "correct image in job.ini: name and tag" ;;
    untrusted) fail "$host has a certificate that this VM does not trust" "set [install] ca_bundle to the file of its CA" ;;
    plain) fail "$host serves plain http, which the engine refuses" "give the registry a certificate; [install] ca_bundle names its CA" ;;
    silent)
        fail "the registry $host does not respond to this VM in three attempts: $(tail -n 1 "$kept" | cut -c 1-160)" \
            "check that [aws] subnet_id has a route to it (NAT, internet gateway, VPC endpoint), then InstallDeps() again"
        ;;
    altered) fail "data of $image from $host does not match its digest" "InstallDeps() again; if it persists, push the image again" ;;
    command)
        message=$(grep -i '^ *error[: ]' "$kept" | tail -n 1)
        fail "the Dockerfile did not build: ${message:-$(tail -n 1 "$kept")}" "correct the Dockerfile or its requirements, then InstallDeps() again"
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
    source=
    rm -rf "$shared" "$shared".*
    [ "$how" = build ] && room 0 && from_peer && exit 0
    tries=1
    until attempt; do
        full && no_room "$(image_root)" "$image" 0
        problem=$(classify)
        case $tries$problem in
        [12]limited | [12]silent) ;;
        *) explain "$problem" ;;
        esac
        # Many hosts pull at the same time: a random pause spreads their next attempts.
        pause=$((tries * 3 + $(od -An -N1 -tu1 /dev/urandom) % (tries * 3)))
        say "$host: $(tail -n 1 "$kept" | cut -c 1-100); again in $pause s"
        sleep "$pause"
        tries=$((tries + 1))
    done
    [ "$how" = build ] || present >/dev/null || wrong_architecture
    [ "$how" != build ] || offer
    ;;
esac
