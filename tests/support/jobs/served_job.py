"""A job whose model is a line, its fetched run, and its predictions."""

from __future__ import annotations

import json
from pathlib import Path

PREDICT = """import json
from pathlib import Path

def load(folder):
    return json.loads((Path(folder) / "model.json").read_text())

def predict(model, data):
    if isinstance(data, dict):
        return {name: [model["slope"] * x + model["offset"] for x in values] for name, values in data.items()}
    if isinstance(data, bytes):
        raise KeyError("bytes")
    return [[model["slope"] * row[0] + model["offset"]] for row in data]
"""
RUN_ID = "20261122-120000-k3x"


def write_job(folder: Path, ini: str = "", predict: str = PREDICT) -> Path:
    """Write the job and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.ini").write_text(f"[job]\nsingle = python train.py\n{ini}")
    (folder / "train.py").write_text("print('trained')\n")
    # From which PushImage() would build the image that serves it.
    (folder / "Dockerfile").write_text("FROM python:3.12-slim\n")
    if predict:
        (folder / "predict.py").write_text(predict)
    return folder


def write_run(runs: Path, job: str, *, slope: float = 0.1, offset: float = 0.7) -> Path:
    """Write a fetched run of the job and return its folder."""
    outputs = runs / RUN_ID / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "model.json").write_text(json.dumps({"slope": slope, "offset": offset}))
    facts = {"run": RUN_ID, "job": job, "state": "done", "fetched": "2026-11-22T12:00:00+00:00", "hosts": ["ml-0"]}
    (runs / RUN_ID / "record.json").write_text(json.dumps(facts))
    return runs / RUN_ID
