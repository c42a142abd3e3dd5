"""Input modes of channels, and checkpoints that outlive an interruption of a spot job."""

from __future__ import annotations

import pytest

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.instances import Play
from tests.support.localcloud.training_lab import BUCKET, TrainingLab, channel, statuses

READ = """
import pathlib
data = pathlib.Path("/opt/ml/input/data")
print("file", (data / "copied/a.csv").read_text())
print("stream", sorted(path.name for path in (data / "stream").iterdir()))
try:
    (data / "stream/new").write_text("")
except OSError as error:
    print(type(error).__name__, error.strerror)
for epoch in range(2):
    print("epoch", epoch, open(data / f"pipe_{epoch}").read())
"""
COUNT = """
import pathlib, signal, sys, time
state = pathlib.Path("/opt/ml/checkpoints/step")
step = int(state.read_text()) if state.exists() else 0
print("begins at", step)
if step:
    sys.exit(0)
state.write_text("3")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(60)
"""


@pytest.mark.slow
def test_channels_are_files_a_tree_that_cannot_be_changed_and_pipes_per_epoch(lab: TrainingLab) -> None:
    lab.put({"modes/a.csv": "1,2", "modes/b.csv": "3,4"})
    channels = [channel("copied", "modes/"), channel("stream", "modes/", mode="FastFile")]
    name = lab.create(READ, *channels, channel("pipe", "modes/", mode="Pipe"))
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", lab.lines(name)
    assert lab.lines(name)["algo-1"] == [
        "file 1,2",
        "stream ['a.csv', 'b.csv']",
        "OSError Read-only file system",
        "epoch 0 1,23,4",
        "epoch 1 1,23,4",
    ]


@pytest.mark.slow
def test_an_interrupted_spot_job_continues_from_its_checkpoints_and_costs_less(lab: TrainingLab, play: Play) -> None:
    name = lab.create(
        COUNT,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 50, "MaxWaitTimeInSeconds": 60},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/spot"},
    )
    wait_until(lambda: lab.keys("checkpoints/spot/") == ["step"])
    play(make_fault("spot-interruption", where="ml.m5.xlarge", times="1"))
    job = lab.wait(name)
    first = ["Starting", "Downloading", "Training", "Interrupted"]
    assert statuses(job) == [*first, "Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert lab.keys("checkpoints/spot/") == ["step"]
    assert 0 < job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    streams = lab.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/algo-1"
    )["logStreams"]
    assert len(streams) == 2
    assert lab.lines(name)["algo-1"] == ["begins at 3"]
