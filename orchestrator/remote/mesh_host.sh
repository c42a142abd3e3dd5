#!/bin/sh
# A host's agent in the mesh of a run.   mesh_host.sh FOLDER
set -u
folder=$1
. "$folder/bin/mesh_env.sh"
exec sh "$folder/bin/python.sh" "$folder/bin/mesh.py" serve "$folder"
