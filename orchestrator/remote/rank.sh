#!/bin/sh
# Runs one process of a job under horovodrun, in the environment of its own host.
folder=${STRATUS_FOLDER:-$STRATUS_HEAD_FOLDER}
. "$folder/mesh/login.env"
cd "$folder/workdir" && exec sh "$folder/bin/command.sh"
