"""Containers as processes: what they see, what they may write, and that they end with the cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.core.process_tree import descendants, is_alive
from localcloud.sagemaker.containers.engine import ContainerEngine
from localcloud.sagemaker.containers.namespaces import Namespaces
from localcloud.sagemaker.containers.spec import ContainerSpec
from tests.support.localcloud.clients import wait_until
from tests.support.paths import ROOT

needs_namespaces = pytest.mark.skipif(not Namespaces().are_available, reason="no user namespaces here")
OWNER = """
import sys, time
from pathlib import Path
from localcloud.sagemaker.containers.engine import ContainerEngine
from localcloud.sagemaker.containers.namespaces import Namespaces
from localcloud.sagemaker.containers.spec import ContainerSpec
spec = ContainerSpec("algo-1", Path(sys.argv[1]), ("sh", "-c", "setsid sleep 61 & echo begins; sleep 62"), {}, {})
ContainerEngine({}, Namespaces()).start(spec, lambda lines: print(*lines, flush=True))
time.sleep(60)
"""


def run(folder: Path, script: str, namespaces: Namespaces, *, read_only: tuple[str, ...] = ()) -> list[str]:
    """Run a shell script in a container, and return its output."""
    lines: list[str] = []
    command = ("sh", "-c", script)
    spec = ContainerSpec("algo-1", folder, command, {}, {"algo-1": "127.66.0.1"}, read_only)
    assert ContainerEngine({}, namespaces).start(spec, lines.extend).wait(30) == 0
    return lines


@needs_namespaces
def test_a_container_sees_nothing_of_the_user_and_writes_to_its_own_folders_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "tools").mkdir(parents=True)
    (home / "secret").write_text("key")
    (home / "tools/tool").write_text("useful")
    (tmp_path / "container/ml/model").mkdir(parents=True)
    script = (
        f"ls -A {home}; cat {home}/tools/tool; echo; hostname; echo $PPID\n"
        "for folder in /opt/ml /opt/ml/model /etc $HOME; do touch $folder/new 2>/dev/null && echo $folder; done; :"
    )
    namespaces = Namespaces((home,), (home / "tools",))
    lines = run(tmp_path / "container", script, namespaces, read_only=("model",))
    assert lines == ["tools", "useful", "algo-1", "0", "/opt/ml", str(tmp_path / "container/home")]
    assert (tmp_path / "container/ml/new").exists()
    assert sorted(path.name for path in home.iterdir()) == ["secret", "tools"]


def test_without_namespaces_a_container_has_the_paths_of_its_folder_and_is_told_so(tmp_path: Path) -> None:
    lines = run(tmp_path, "echo /opt/ml/model $SAGEMAKER_BASE_DIR", Namespaces(is_wanted=False))
    assert lines[0].startswith("this system allows no user namespaces: /opt/ml is ")
    assert lines[1:] == [f"{tmp_path}/ml/model {tmp_path}/ml"]


@needs_namespaces
def test_everything_in_a_container_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "begins\n"
        wait_until(lambda: len(descendants(owner.pid)) >= 4)
        processes = descendants(owner.pid)
        os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, processes)))
