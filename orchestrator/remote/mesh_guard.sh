#!/bin/sh
# Monitors a run that has a main task on every host.   mesh_guard.sh FOLDER
set -u
exec sh "$1/bin/python.sh" "$1/bin/mesh_guard.py" "$1"
