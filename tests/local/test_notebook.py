"""The extension in a real Jupyter kernel, without input, as under nbclient and papermill."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")

pytestmark = pytest.mark.slow

CONFIG = "[cluster]\ncount = 1\n[job]\nrun = job\n"
JOB = f"[job]\npython = {sys.executable}\nsystem_packages = yes\nsingle = echo the answer is 42\n"
TIMEOUT_S = 120.0

Cell = Callable[[str], str]


@pytest.fixture
def cell(tmp_path: Path, cloud: Mapping[str, str]) -> Iterator[Cell]:
    """Run a cell in a kernel whose front end takes no input; return everything that is displayed."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/job.ini").write_text(JOB)
    (tmp_path / "config.ini").write_text(CONFIG)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"LOCALCLOUD_HOME": cloud["LOCALCLOUD_HOME"], "STRATUS_HOME": str(tmp_path / "home")}
    # Not a kernel by name, which could be another environment's.
    kernel = manager.KernelManager()
    kernel.kernel_spec.argv[0] = sys.executable
    kernel.start_kernel(cwd=str(tmp_path), env=env)
    client = kernel.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT_S)

    def run(code: str) -> str:
        displayed: list[str] = []
        client.execute_interactive(
            code,
            allow_stdin=False,
            output_hook=lambda message: displayed.append(_text(message)),
            timeout=TIMEOUT_S,
        )
        return "".join(displayed)

    yield run
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    shown = str(content.get("text", "")) + str(content.get("data", {}).get("text/html", ""))
    return shown + "\n".join(content.get("traceback", []))


def test_a_rehearsal_in_a_notebook_and_the_hint_where_no_question_can_be_asked(cell: Cell) -> None:
    assert cell("%load_ext stratus") == ""
    banner = cell("%stratus --local")
    assert "embedded cloud (no AWS account, nothing is billed)" in banner
    assert "config config.ini" in banner

    unasked = cell("LaunchInstances(2)")
    assert "cannot ask for confirmation here. Nothing was launched.\n" in unasked
    assert "bug" not in unasked
    (hint,) = [line for line in unasked.splitlines() if "does not ask" in line]
    assert "2 of 2 ready" in cell(hint.removesuffix(" does not ask").strip())

    assert "the answer is 42" in cell("InstallDeps(); RunSingleVMComputing()")
    table = cell("s = Status()")
    assert "<tr><td>ml-0</td><td>running</td>" in table
    assert "  ml-0  running" not in table
    assert "<th>VM</th>" in cell("s")
    assert "<td>not fetched</td>" in cell("History()")
    refused = cell("%stratus")
    assert "this session is on the embedded cloud" in refused
    assert "restart the kernel" in refused
    assert "0 VMs running." in cell("TerminateAll()")


def test_a_notebook_in_an_empty_folder_begins_with_a_config(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "config.ini").unlink()
    cell("%load_ext stratus")
    refused = cell("%stratus --local")
    assert "no config file here" in refused
    (hint,) = re.findall(r"Config\(.*?\)", refused)
    assert "config/config.ini and the job first_job/ written" in cell(hint)
    assert "Job first_job: no mistakes" in cell("Config('check')")
    assert "rehearsal" in cell("Config('show')")


def test_the_magic_takes_options_only_and_names_the_command_for_the_rest(cell: Cell) -> None:
    cell("%load_ext stratus")
    assert "%stratus status: takes --local and --config FILE" in cell("%stratus status")
    assert "%stratus --help: takes --local and --config FILE" in cell("%stratus --help")
    assert "No closing quotation" in cell("%stratus --config 'x")
    assert "no such file" in cell("%stratus --config nothing.ini")
    assert "nothing_of_this_name" not in cell("%unload_ext stratus")
    assert "NameError" in cell("LaunchInstances")
