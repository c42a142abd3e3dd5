#!/bin/sh
# Horovod's host discovery script: prints the hosts that are connected, ADDRESS:SLOTS each.
# The first call prints this host only: Horovod gives rank 0, which writes the results, to the host that it has known
# the longest (HostManager.order_available_hosts).
folder=${0%/bin/*}
if [ -e "$folder/state/asked" ]; then
    exec cat "$folder/state/alive"
fi
: >"$folder/state/asked"
exec head -n 1 "$folder/state/alive"
