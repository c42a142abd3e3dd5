"""Endpoints at a real prompt, on the embedded cloud: what a user types, answers and reads; every hint is typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from tests.support.interface.typist import Typist
from tests.support.jobs.served_job import write_job, write_run
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

MISTAKES = {
    'Deploy("zzz")': "no run 'zzz' was fetched",
    'Deploy("k3x", mode="fast")': "'fast' is not a way of hosting",
    'Deploy("k3x", mode="serverless", memory_mb=1500, count=2)': r"memory_mb = 1500: [^;]*; count = 2: a serverless",
    'Deploy("k3x", mode="serverless", instance_type="ml.m5.large")': r"a serverless endpoint runs on memory_mb alone",
    'Deploy("k3x", memory_mb=4096)': r"memory_mb = 4096: for mode=.serverless. only",
    'Deploy("k3x", mode="async")': r"is not a way of hosting. Did you mean asynchronous\?",
    'Deploy("k3x", count="two")': "count = 'two' is not a whole number",
    'Deploy("k3x", max_hours=-1)': "max_hours = -1 is below 0",
    'Deploy("k3x", name="my endpoint")': "'my endpoint' cannot be the name of an endpoint",
    'Deploy("k3x", name="b", instance_type="m5.large")': "m5.large is a type of EC2",
    'Predict("nope", "rows.csv")': "there is no endpoint 'nope'",
    'Predict("k3x", "nothing.csv")': "nothing.csv: cannot be read",
    'Predict("k3x", "big.csv")': "the request has 6,600,000 bytes; a real-time endpoint takes 6,291,456",
    'ScaleEndpoint("k3x", minimum=0)': "a real-time endpoint keeps an instance",
    'ScaleEndpoint("k3x", minimum=5, target=0)': "minimum = 5 is above maximum = 2; target = 0 is not above 0",
    'UpdateEndpoint("k3x", mode="serverless")': "cannot become serverless; only the reverse is possible",
    'BatchTransform("k3x", "rows.csv")': "'rows.csv' is not an S3 prefix",
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Typist]:
    """A prompt with a cloud of its own, and a fetched run."""
    (tmp_path / "config").mkdir()
    config = (ROOT / "config/local.ini").read_text()
    (tmp_path / "config/local.ini").write_text(re.sub(r"(?m)^run = .*", "run = line", config))
    write_job(tmp_path / "line")
    write_run(tmp_path / "runs", "line")
    (tmp_path / "rows.csv").write_text("1\n2\n")
    (tmp_path / "big.csv").write_bytes(b"1\n" * 3_300_000)
    cloud = tmp_path / "cloud"
    localcloud.up(cloud, bound_to=os.getpid())
    own = {"LOCALCLOUD_HOME": str(cloud), "STRATUS_HOME": str(tmp_path / "home"), "IPYTHONDIR": str(tmp_path / "ipy")}
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = keep | own | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "LC_ALL": "C.UTF-8"}
    with Typist([sys.executable, str(ROOT / "run_interface.py"), "--local"], tmp_path, env) as shell:
        yield shell
    localcloud.down(cloud)


def test_a_run_is_served_asked_scaled_updated_and_deleted(shell: Typist) -> None:
    missing = shell.type("Deploy()")
    assert "does not exist" in missing
    shell.follow(missing, "SageMakerRole", "y")
    assert "Nothing was created." in shell.type("Deploy()", "n")

    shown = shell.type('Deploy("k3x", max_hours=8)', "y")
    assert "AWS deletes it after 8 h" in shown
    assert re.search(r"stratus-ml-line-k3x +InService", shown)
    answers = [shell.type(f'Predict("k3x", {data})') for data in ('"rows.csv"', "[[1.0], [2.0]]")]
    assert all(answer.count("[0.7999999999999999]") == 1 for answer in answers)
    for line, words in MISTAKES.items():
        assert re.search(words, " ".join(shell.type(line).split())), line

    scaled = shell.type('ScaleEndpoint("k3x", maximum=3)', "y")
    assert re.search(r"\$0\.115/h to \$0\.345/h", scaled)
    refused = shell.type('UpdateEndpoint("k3x", instance_type="ml.m5.xlarge")')
    assert "is scaled: AWS then changes neither its type" in " ".join(refused.split())
    assert "scales" not in shell.follow(refused, "ScaleEndpoint")
    assert "2 x ml.m5.large" in shell.type('UpdateEndpoint("k3x", count=2)', "y")
    assert "2 x ml.m5.large" in shell.type("Endpoints()")

    assert "is deleted" in shell.type('DeleteEndpoint("k3x")')
    assert "there is no endpoint 'k3x'" in shell.type('DeleteEndpoint("k3x")')
    assert "no endpoints" in shell.type("Endpoints()")
    shell.type("TerminateAll()")
