#!/bin/sh
# Prints whether programs on this host can use its Elastic Fabric Adapters.   efa_check.sh
# One line: "@@efa ok", "@@efa no-software", or "@@efa broken LINE" with what fi_info says.
set -u
# Where AWS's installer and its Deep Learning images have it: not on the PATH of every shell.
PATH="$PATH:/opt/amazon/efa/bin"
command -v fi_info >/dev/null 2>&1 || { echo "@@efa no-software" && exit 0; }
answer=$(timeout 20 fi_info -p efa 2>&1)
if echo "$answer" | grep -q '^ *provider: efa'; then
    echo "@@efa ok"
else
    echo "@@efa broken $(echo "$answer" | tail -n 1)"
fi
