"""Training and tuning at a real prompt: price and question, lines, Ctrl-C, the way back, cancel, table and best run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

import pytest

import localcloud
from tests.support.interface.typist import PROMPT, Typist
from tests.support.paths import ROOT

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.slow

CONFIG = "[cluster]\nname = ml\n[job]\nrun = slow\n"
SLOW = "[job]\nsingle = i=0; while :; do echo step $i; i=$((i+1)); sleep 0.3; done\n"
TUNED = """[job]
single = python work.py
[metrics]
loss = loss=([0-9.]+)
"""
WORK = "import sys\nif sys.argv[2] == '3':\n    sys.exit('no convergence')\nprint('loss=' + sys.argv[2])\n"
QUESTION = r"keep watching\?  \[l/c/W\] $"


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typist]:
    """The shell in a project with two jobs, on a cloud of its own."""
    folder = tmp_path_factory.mktemp("prompt")
    for name, text in {"config/local.ini": CONFIG, "slow/job.ini": SLOW, "tuned/job.ini": TUNED}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "tuned/work.py").write_text(WORK)
    cloud = folder / "cloud"
    localcloud.up(cloud, bound_to=os.getpid())
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env |= {"LOCALCLOUD_HOME": str(cloud), "STRATUS_HOME": str(folder / "home"), "TERM": "xterm"}
    env |= {"IPYTHONDIR": str(folder / "ipython"), "PROMPT_TOOLKIT_NO_CPR": "1"}
    with Typist([sys.executable, str(ROOT / "run_interface.py"), "--local"], folder, env) as typist:
        typist.type("SageMakerRole()", "y")
        yield typist
        typist.child.send("exit\r")
        typist.child.expect(pexpect.EOF)
    localcloud.down(cloud)


def interrupt(prompt: Typist, answer: str, then: str) -> str:
    """Press Ctrl-C, answer the question, and return the text up to a pattern."""
    prompt.child.sendintr()
    prompt.until(QUESTION)
    prompt.child.send(answer + "\r")
    return prompt.until(then)


def test_a_training_job_is_left_found_again_and_canceled(prompt: Typist) -> None:
    prompt.child.send("TrainOnSageMaker()\r")
    assert "at most" in prompt.until(r"Train\? \[Y/n\] $")
    prompt.child.send("\r")
    assert "Starting: " in prompt.until("step 1\n")
    again = interrupt(prompt, "w", "step 4\n")
    assert "Starting" not in again
    left = interrupt(prompt, "l", PROMPT)
    assert re.search(r'It keeps running\. Attach\("\w+"\) reconnects to it\.', left)

    assert "1 managed $0.23/h" in prompt.type("Status()") + prompt.type("Runs()")
    prompt.child.send(re.search(r'Attach\("\w+"\)', left)[0] + "\r")  # type: ignore[index]
    prompt.until("step 6\n")
    canceled = interrupt(prompt, "c", PROMPT)
    assert "Stopping: " in canceled
    assert "cancelled" in canceled
    assert "had ended before (cancelled)" in prompt.type("CancelJob()")
    assert "training job" not in prompt.type("Status()")


def test_a_tuning_job_fills_its_table_and_is_shown_again(prompt: Typist) -> None:
    # A line that is wrapped would not be found in what the terminal shows.
    shown = prompt.type(
        't = Tune("tuned", ranges="lr=1,2,3,4", objective="minimize loss", jobs=0, strategy="Grid")', "y"
    )
    assert "4 jobs, 4 at a time" in shown
    assert "lr=3  no convergence" in shown
    assert re.search(r"001 +Completed +1 +<\$0\.01 +best +lr=1", shown)
    assert re.search(r"Completed: 4 jobs, 1 failed, <\$0\.01 in all\.", shown)
    assert "4 4" in prompt.type("print(len(t), len(t.to_pandas()))")
    assert "best" in prompt.type("Attach()")
    assert "003 | no convergence" in prompt.type("Logs()")
