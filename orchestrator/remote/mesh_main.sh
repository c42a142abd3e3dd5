#!/bin/sh
# The main task of a run whose hosts are meshed.   mesh_main.sh FOLDER LAUNCHER
set -u
folder=$1
exec sh "$folder/bin/python.sh" "$folder/bin/mesh_lead.py" "$folder" "$2"
