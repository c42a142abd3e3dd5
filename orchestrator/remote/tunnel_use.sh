#!/bin/sh
# Tells idle.sh about a connection that holds tunnels open: stratus/tunnels/PORT, by the client's port of the connection
# that this runs over.   tunnel_use.sh used|quiet|closed
# used: something else than an idle page moved over it since the last call. quiet: nothing did. closed: no tunnel is left.
set -u
set -- "$1" ${SSH_CONNECTION:-}
[ $# -ge 3 ] || exit 0
case $3 in '' | *[!0-9]*) exit 0 ;; esac
file="$HOME/stratus/tunnels/$3"
[ "$1" = closed ] && { rm -f "$file"; exit; }
mkdir -p "$HOME/stratus/tunnels" && echo "$1" >"$file"
