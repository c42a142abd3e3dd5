#!/bin/sh
# Watches, while a run goes on, for the notice that AWS takes this spot machine back.   spot.sh FOLDER
# The notice comes two minutes before the end, best effort; AWS recommends to ask every five seconds:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
# Every process of the run is told by TERM, and the log by a line "@@spot TIME", so that whoever follows fetches at once.
set -u
folder=$1
run=${folder##*/}
host=$(sed -n 's/^STRATUS_HOST=//p' "$folder"/task/*.env 2>/dev/null | head -n 1)
base=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
base=${base%/}

ask() { # prints a value; fails when there is none (404) or nobody answers
    token=$(curl -sf --noproxy '*' -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/latest/api/token") &&
        curl -sf --noproxy '*' -m 2 -H "X-aws-ec2-metadata-token: $token" "$base/latest/meta-data/$1"
}

goes_on() {
    for cmd in "$folder"/task/*.cmd; do
        role=${cmd##*/}
        [ -e "$folder/state/${role%.cmd}.rc" ] || return 0
    done
    return 1
}

members() {
    {
        for file in "$folder"/state/*.pid; do
            [ -e "${file%.pid}.rc" ] || ps -o pid= -s "$(cat "$file")"
        done
        grep -lzxF "STRATUS_RUN=$run" /proc/[0-9]*/environ | xargs -r grep -lzxF "STRATUS_HOST=$host" | cut -d/ -f3
    } 2>/dev/null | tr -d ' ' | sort -u
}

[ "$(ask instance-life-cycle)" = spot ] || exit 0
while goes_on; do
    if notice=$(ask spot/instance-action); then
        when=$(printf %s "$notice" | sed -n 's/.*"time"[^"]*"\([^"]*\)".*/\1/p')
        echo "${when:-soon}" >"$folder/state/spot"
        for log in "$folder"/log/*.log; do
            printf '\n@@spot %s\n' "${when:-soon}" >>"$log"
        done
        for pid in $(members); do
            # Our own shells around the job stay: they wait for it, and write down how it ended.
            case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in
            "sh $folder/"*) ;;
            *) kill -TERM "$pid" 2>/dev/null ;;
            esac
        done
        exit 0
    fi
    sleep "${STRATUS_SPOT_EVERY:-5}"
done
