#!/bin/sh
# Runs the job's command on the first host, with mpirun configured to reach the others.   mpi.sh FOLDER
set -u
folder=$1
. "$folder/bin/mesh_env.sh"
# For Open MPI and Hydra (MPICH, Intel MPI); by default, both choose a network interface themselves.
export OMPI_MCA_plm_rsh_agent="$folder/mesh/bin/ssh" HYDRA_LAUNCHER=ssh HYDRA_LAUNCHER_EXEC="$folder/mesh/bin/ssh"
export OMPI_MCA_btl_tcp_if_include="$STRATUS_INTERFACE" OMPI_MCA_oob_tcp_if_include="$STRATUS_INTERFACE" HYDRA_IFACE="$STRATUS_INTERFACE"
exec sh "$folder/bin/command.sh"
