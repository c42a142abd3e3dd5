#!/bin/sh
# Runs this host's part of a job under torchrun.   torchrun.sh FOLDER
# MASTER_ADDR and MASTER_PORT are the rendezvous of the hosts; without them the job runs on this host only.
set -u
folder=$1
. "$folder/bin/mesh_up.sh"
sh "$folder/bin/python.sh" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))" ||
    { echo "torch is missing here: add it to the job's requirements, or to its image"; exit 127; }
# The cores are divided among the processes; torchrun's own default is one thread each.
threads=$(($(nproc) / STRATUS_SLOTS))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
if [ -n "${MASTER_ADDR:-}" ]; then
    # By default, both libraries choose a network interface themselves, possibly Docker's bridge.
    interface=$(sh "$folder/bin/python.sh" "$folder/bin/interface.py" "$STRATUS_ADDRESS") || exit 1
    export GLOO_SOCKET_IFNAME="$interface" NCCL_SOCKET_IFNAME="$interface"
    set -- --nnodes "$STRATUS_SIZE" --node-rank "$STRATUS_RANK" --master-addr "$MASTER_ADDR" --master-port "$MASTER_PORT"
else
    set -- --standalone
fi
exec sh "$folder/bin/python.sh" -m torch.distributed.run "$@" --nproc-per-node "$STRATUS_SLOTS" --no-python sh "$folder/bin/command.sh"
