#!/bin/sh
# Prints the files that a host needs to join a meshed run.   give.sh RUN
#   @@file NAME BASE64
set -u
cd "$HOME/stratus/runs/$1" || exit 1
for name in job.json hostfile bin/command.sh task/mesh.cmd task/mesh.env \
    mesh/ca.pem mesh/cert.pem mesh/key.pem mesh/port mesh/members; do
    [ -f "$name" ] && printf '@@file %s %s\n' "$name" "$(base64 <"$name" | tr -d '\n')"
done
exit 0
