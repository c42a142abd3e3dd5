#!/bin/sh
# The launcher of an all-reduce, on the first host of the mesh.   all_reduce_lead.sh FOLDER
set -u
folder=$1
. "$folder/bin/mesh_env.sh"
exec sh "$folder/bin/python.sh" "$folder/bin/health/all_reduce.py" lead "$STRATUS_SECONDS"
