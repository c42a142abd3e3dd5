#!/bin/sh
# The main task of a Dask run over several hosts.   dask_main.sh FOLDER COMMAND-FILE
# Waits for the workers, runs the job's own command, then closes the cluster, so that the workers on the other hosts end
# even if no client is connected.
set -u
gate="$1/bin/dask_gate.py"
python "$gate" wait || exit $?
sh "$2"
rc=$?
python "$gate" shutdown
exit "$rc"
