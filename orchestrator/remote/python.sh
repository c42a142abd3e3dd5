#!/bin/sh
# Runs a Python program with the job's interpreter: python3, or python in some images.   python.sh FILE ARGUMENT...
for name in python3 python; do
    command -v "$name" >/dev/null 2>&1 && exec "$name" "$@"
done
echo "no python in the job's environment" >&2
exit 127
