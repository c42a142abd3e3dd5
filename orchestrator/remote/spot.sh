#!/bin/sh
# Polls, during a run, for the notice that AWS reclaims this spot instance.   spot.sh FOLDER VENV
# The notice comes two minutes before the end, best effort; AWS recommends polling every five seconds:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
# Every process of the run gets TERM, and every log a line; state/spot tells a client that follows it to fetch at once.
set -u
folder=$1 venv=$2
run=${folder##*/}
base=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
base=${base%/}

metadata() { # NAME: prints a value; fails if there is none (404) or no answer
    token=$(curl -sf --noproxy '*' -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/latest/api/token") &&
        curl -sf --noproxy '*' -m 2 -H "X-aws-ec2-metadata-token: $token" "$base/latest/meta-data/$1"
}

is_running() {
    for cmd in "$folder"/task/*.cmd; do
        role=${cmd##*/}
        [ -e "$folder/state/${role%.cmd}.rc" ] || return 0
    done
    return 1
}

members() {
    host=$(sed -n 's/^STRATUS_HOST=//p' "$folder"/task/*.env 2>/dev/null | head -n 1)
    {
        for file in "$folder"/state/*.pid; do
            [ -e "${file%.pid}.rc" ] || ps -o pid= -s "$(cat "$file")"
        done
        grep -lzxF "STRATUS_RUN=$run" /proc/[0-9]*/environ | xargs -r grep -lzxF "STRATUS_HOST=$host" | cut -d/ -f3
    } 2>/dev/null | tr -d ' ' | sort -u
}

kind=$(metadata instance-life-cycle)
if [ "$kind" != spot ]; then
    # For the next start, which then spares the queries until the VM boots again.
    [ -z "$kind" ] || cat /proc/sys/kernel/random/boot_id >"$HOME/stratus/state/not-spot"
    exit 0
fi
while is_running; do
    if notice=$(metadata spot/instance-action); then
        when=$(printf %s "$notice" | sed -n 's/.*"time"[^"]*"\([^"]*\)".*/\1/p')
        echo "${when:-soon}" >"$folder/state/spot"
        for log in "$folder"/log/*.log; do
            printf '\nAWS reclaims this spot instance at %s; the job received SIGTERM\n' "${when:-soon}" >>"$log"
        done
        for pid in $(members); do
            # The shells around the job stay: they wait for it and record its exit status.
            case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in
            "sh $folder/"*) ;;
            *) kill -TERM "$pid" 2>/dev/null ;;
            esac
        done
        # Large files leave now; what the job writes at the signal, after that.
        [ -s "$folder/checkpoints" ] && sh "$folder/bin/checkpoints.sh" "$folder" "$venv" save &
        # A job that saves its state has 30 of the 120 seconds; then what it has written by then leaves the VM.
        left=30
        while [ "$left" -gt 0 ] && is_running; do
            sleep 1
            left=$((left - 1))
        done
        [ -s "$folder/checkpoints" ] && sh "$folder/bin/checkpoints.sh" "$folder" "$venv" final &
        sh "$folder/bin/results.sh" "$folder"
        wait
        exit 0
    fi
    sleep "${STRATUS_SPOT_EVERY:-5}"
done
