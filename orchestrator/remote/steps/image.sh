#!/bin/sh
# The job's container image: pulled, or built from the job's own Dockerfile.
#   image.sh check|apply pull IMAGE        image.sh check|apply build TAG FOLDER
set -u
mode=$1 how=$2 image=$3
docker() { if command docker info >/dev/null 2>&1; then command docker "$@"; else sudo -n docker "$@"; fi; }

case $mode in
check)
    docker image inspect "$image" >/dev/null 2>&1
    ;;
apply)
    if [ "$how" = pull ]; then
        docker pull "$image"
    else
        docker build -t "$image" "$STRATUS_ROOT/$4"
    fi
    ;;
esac
