#!/bin/sh
# Prints a task's log as it is now.   log.sh RUN ROLE LINES-SEEN
exec tail -n "+$(($3 + 1))" "$HOME/stratus/runs/$1/log/$2.log"
