#!/bin/sh
# Checks that something is installed, whatever its version.   present.sh check image NAME | path PATH (below ~/stratus)
set -u
case $2 in
image) docker image inspect -- "$3" >/dev/null 2>&1 || sudo -n docker image inspect -- "$3" >/dev/null 2>&1 ;;
path) [ -e "$STRATUS_ROOT/$3" ] ;;
*) exit 64 ;;
esac
