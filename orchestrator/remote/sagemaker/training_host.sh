#!/bin/sh
# Entry point of a training container: runs training_host.py with the image's Python.   training_host.sh [ML-FOLDER]
# exec: SageMaker signals the first process only.
folder=${0%/*} ml=${1:-${SAGEMAKER_BASE_DIR:-/opt/ml}}
for name in python3 python; do
    command -v "$name" >/dev/null 2>&1 && exec "$name" -u "$folder/training_host.py" "$folder" "$ml"
done
echo "no python in the image: training needs Python 3.8 or newer"
mkdir -p "$ml/output" && echo "no python in the image" >"$ml/output/failure"
exit 127
