#!/bin/sh
# Stands in for OpenSSH's client; linked as FOLDER/mesh/bin/ssh.
folder=${0%/mesh/bin/*}
exec sh "$folder/bin/python.sh" "$folder/bin/mesh.py" ssh "$folder" "$@"
