#!/bin/sh
# The job's command on the first host, mpirun's way to the others prepared.   mpi.sh FOLDER
set -u
folder=$1
. "$folder/bin/mesh_env.sh"
# Open MPI and Hydra (MPICH, Intel MPI); both would take an interface of their own choice.
export OMPI_MCA_plm_rsh_agent="$folder/mesh/bin/ssh" HYDRA_LAUNCHER=ssh HYDRA_LAUNCHER_EXEC="$folder/mesh/bin/ssh"
export OMPI_MCA_btl_tcp_if_include="$STRATUS_INTERFACE" OMPI_MCA_oob_tcp_if_include="$STRATUS_INTERFACE" HYDRA_IFACE="$STRATUS_INTERFACE"
exec sh "$folder/bin/command.sh"
