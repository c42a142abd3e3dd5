#!/bin/sh
# Runs the job's command on the first host, with mpirun configured to reach the others.   mpi.sh FOLDER
set -u
folder=$1
. "$folder/bin/mesh_env.sh"
# For Open MPI and Hydra (MPICH, Intel MPI); by default, both choose a network interface themselves.
export OMPI_MCA_plm_rsh_agent="$folder/mesh/bin/ssh" PRTE_MCA_plm_ssh_agent="$folder/mesh/bin/ssh" HYDRA_LAUNCHER=ssh HYDRA_LAUNCHER_EXEC="$folder/mesh/bin/ssh"
export OMPI_MCA_btl_tcp_if_include="$STRATUS_INTERFACE" OMPI_MCA_oob_tcp_if_include="$STRATUS_INTERFACE" HYDRA_IFACE="$STRATUS_INTERFACE"
if [ "$(id -u)" -eq 0 ]; then
    # Open MPI refuses root, the login of some images and of a rehearsal in a container.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
exec sh "$folder/bin/command.sh"
