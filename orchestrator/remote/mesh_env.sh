#!/bin/sh
# Sourced with $folder set: puts the program "ssh" of this run's mesh first on PATH, and this host's environment in a file.
# A launcher passes the environment of the first host on command lines: rank.sh uses the file instead.
umask 077
mkdir -p "$folder/mesh/bin"
[ -e "$folder/mesh/bin/ssh" ] || ln -s "$folder/bin/mesh_ssh.sh" "$folder/mesh/bin/ssh"
export -p >"$folder/mesh/login.$$" && mv "$folder/mesh/login.$$" "$folder/mesh/login.env"
PATH="$folder/mesh/bin:$PATH"
export PATH
umask 022
