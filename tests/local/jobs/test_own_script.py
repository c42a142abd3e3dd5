"""A script of one's own, without a job.ini, from nothing to results and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.jobs.scripts.find import find
from tests.support.project import Project

SCRIPT = """
import json, os, pathlib, sys
from helper import square
pathlib.Path("outputs").mkdir()
rank = int(os.environ["STRATUS_RANK"])
print(f"rank {rank} of", os.environ["STRATUS_SIZE"], sys.argv[1:])
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"square": square(rank)}))
print("uploaded", sorted(path.name for path in pathlib.Path().iterdir() if path.name != "__pycache__"))
"""


@pytest.mark.slow
def test_a_script_runs_on_two_vms_from_one_call(cloud: dict[str, str], tmp_path: Path) -> None:
    """With its requirements, and without environments, secrets and version control."""
    folder = tmp_path / "my project"
    files = {"train it.py": SCRIPT, "helper.py": "def square(x): return x * x\n", "requirements.txt": "# none\n"}
    for name, text in (files | {".git/HEAD": "", ".env": "SECRET=1", "env/pyvenv.cfg": "", "runs/old/x": ""}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    project, lines = Project(tmp_path, "own", cloud), []
    project.job("single = true\n")
    with project.session() as session:
        record, terminated = session.experiment(
            multi=True, count=2, job=find(f"{folder}/train it.py --epochs 3"), on_line=lambda *line: lines.append(line)
        )

    assert (record.state, record.job, terminated.remaining) == ("done", "my_project", ())
    assert {("own-0", "rank 0 of 2 ['--epochs', '3']"), ("own-1", "rank 1 of 2 ['--epochs', '3']")} < set(lines)
    uploaded = "uploaded ['helper.py', 'outputs', 'requirements.txt', 'train it.py']"
    assert ("own-0", uploaded) in lines
    assert json.loads((record.folder / "outputs/own-1/metrics.json").read_text()) == {"square": 1}
    assert (record.timings["install"] > 0, "launch" in record.timings) == (True, True)
