#!/bin/sh
# What launchers take for OpenSSH's program; lies in FOLDER/mesh/bin under that name.
folder=${0%/mesh/bin/*}
exec sh "$folder/bin/python.sh" "$folder/bin/mesh.py" ssh "$folder" "$@"
