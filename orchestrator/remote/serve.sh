#!/bin/sh
# `serve`, the command with which SageMaker starts a container that answers requests. It serves the model of a run:
# its folder, /opt/ml/model, holds outputs/ (of the run), code/ (of the job) and stratus/ (these scripts).
set -eu
model=${SAGEMAKER_BASE_DIR:-/opt/ml}/model
[ -f "$model/stratus/serve.py" ] || { echo "serve: $model has no stratus/serve.py: not a model of Stratus" >&2; exit 1; }
python=$(command -v python3 || command -v python) || { echo "serve: this image has no Python" >&2; exit 1; }
exec "$python" "$model/stratus/serve.py" "$model"
