"""JupyterLab on a VM, and notebooks as jobs: real servers and kernels, reached through real tunnels."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.scripts import find
from orchestrator.session import Session
from tests.support.browser import LabPage, needs_browser, open_browser
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.iam_enforcement import as_user
from tests.support.paths import ROOT
from tests.support.project import Project

pytestmark = pytest.mark.slow

# Runs in JupyterLab's own environment, which has a client for web sockets.
EXECUTE = """
import json, sys, urllib.request, uuid
from urllib.parse import parse_qs, urlsplit
import websocket
url, kernel, name, code = sys.argv[1:]
parts = urlsplit(url)
headers = {"Authorization": "token " + parse_qs(parts.query)["token"][0]}
if not kernel:
    request = urllib.request.Request(f"http://{parts.netloc}/api/kernels", name.encode(), headers)
    kernel = json.load(urllib.request.urlopen(request, timeout=60))["id"]
print(kernel)
address = f"ws://{parts.netloc}/api/kernels/{kernel}/channels"
channels = websocket.create_connection(address, header=headers, timeout=120)
header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
content = {"code": code, "silent": False}
message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
channels.send(json.dumps(message))
while True:
    answer = json.loads(channels.recv())
    if answer["parent_header"].get("msg_id") != header["msg_id"]:
        continue
    content = answer["content"]
    print(content.get("text", ""), "".join(content.get("traceback", [])), end="")
    if answer["msg_type"] == "status" and content["execution_state"] == "idle":
        break
"""


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with one VM, on which a job with an environment of its own is installed."""
    project = Project(tmp_path_factory.mktemp("notebooks"), "nb", cloud)
    folder = project.folder / "job"
    folder.mkdir()
    (folder / "job.ini").write_text("[job]\nrequirements = requirements.txt\nsingle = true\n")
    (folder / "requirements.txt").write_text("cowsay\n")
    wait = "while [ ! -e ~/enough ]; do sleep 0.1; done"
    project.job(
        f"framework = dask\nrequirements = requirements.txt\nmulti = {wait}\n",
        name="many",
        requirements__txt="distributed\n",
    )
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(1)).failed
        assert not session.jobs.install().failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def session(project: Project) -> Iterator[Session]:
    with project.session() as session:
        yield session


def on_host(session: Session, command: str) -> str:
    """Run a command on the VM; return its output."""
    (output,) = session.hosts.run_command(command).hosts
    return "\n".join(output.lines)


def execute(session: Session, url: str, code: str, kernel: str = "", name: str = "") -> tuple[str, str]:
    """Execute code in a kernel, by default a new one, of this name; return the kernel's id and the output."""
    python = f"{on_host(session, 'echo $HOME')}/stratus/venvs/.jupyter/bin/python"
    wanted = json.dumps({"name": name} if name else {})
    command = [python, "-c", EXECUTE, url, kernel, wanted, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    kernel, _, output = done.stdout.partition("\n")
    return kernel, output.strip()


def notebook(*sources: str, tags: tuple[str, ...] = ()) -> str:
    """Return a notebook of these cells as text; the tags are the first one's."""
    empty: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**empty, "id": f"c{number}", "source": source} for number, source in enumerate(sources)]
    cells[0]["metadata"] = {"tags": list(tags)}
    # The kernel of another computer.
    metadata = {"kernelspec": {"name": "geo-2024", "display_name": "geo", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def test_cells_have_the_packages_of_the_job_and_the_token_stays_secret(session: Session) -> None:
    page = session.notebooks.open()
    _, output = execute(session, page.url, "import cowsay, sys; print(cowsay.__name__, sys.prefix)")
    token = page.url.rpartition("=")[2]
    exposed = on_host(session, f"ps axe -o args; cat ~/stratus/jupyter/server.log; echo; : {token[:3]}")
    readable = on_host(session, "find ~/stratus/jupyter -type f -perm /077; stat -c %a ~/stratus/jupyter")
    with pytest.raises(HTTPError, match="403"):
        urlopen(page.url.replace("/lab?", "/api/kernels?").partition("?")[0], timeout=30)

    assert re.fullmatch(r"cowsay \S+/stratus/venvs/job", output)
    assert "jupyterlab" in exposed
    assert token not in exposed
    assert readable == "700"


def test_a_kernel_of_a_job_that_is_not_installed_is_one_line(session: Session) -> None:
    with pytest.raises(UsageError, match=r"no kernel other; there: job\n"):
        session.notebooks.open(kernel="other")
    with pytest.raises(UsageError, match="not the name of a job"):
        session.notebooks.open(kernel="../job")


def test_it_survives_the_shell_and_is_found_again(project: Project, session: Session) -> None:
    """Killed without a chance to clean up, on another port of this computer while the first is taken."""
    command = [sys.executable, str(ROOT / "run_interface.py"), "--config", str(project.config), "jupyter"]
    env = os.environ | as_user(project.env) | {"STRATUS_HOME": str(project.folder / "laptop")}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=project.folder) as shell:
        url = read_address(shell)
        kernel, _ = execute(session, url, "answer = 42")
        both = session.notebooks.open()
        reused = session.notebooks.open()
        shell.send_signal(signal.SIGKILL)
    page = session.notebooks.open()
    _, output = execute(session, page.url, "print(answer)", kernel)

    assert reused.url == both.url != url
    assert both.url.rpartition("=")[2] == page.url.rpartition("=")[2] == url.rpartition("=")[2]
    assert output == "42"


def read_address(shell: subprocess.Popen[str]) -> str:
    """Return the address that a shell prints."""
    assert shell.stdout
    line = next(line for line in shell.stdout if "token=" in line)
    return next(word for word in line.split() if "token=" in word)


@needs_browser
def test_a_browser_runs_cells_and_the_page_reconnects_after_the_shell_was_killed(
    project: Project, tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "run_interface.py"), "--config", str(project.config), "jupyter"]
    env = os.environ | as_user(project.env) | {"STRATUS_HOME": str(project.folder / "laptop")}
    shells: list[subprocess.Popen[str]] = []

    def open_shell() -> str:
        shells.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=project.folder))
        return read_address(shells[-1])

    try:
        with open_browser(tmp_path) as browser:
            page = LabPage(browser, url := open_shell())
            page.open_notebook("job")
            outputs = [page.run_cell("import cowsay; answer = 41; print('cell', answer + 1)")]
            shells[-1].kill()
            shells[-1].wait()
            again = open_shell()
            # The same page, not loaded again: its kernel has kept its variables.
            page.wait_until_reconnected()
            outputs.append(page.run_cell("print('later', answer + 2)"))
    finally:
        for shell in shells:
            shell.kill()
            shell.communicate()

    assert again == url
    assert outputs == ["cell 42", "later 43"]


def test_a_kernel_that_works_is_use_of_the_vm(session: Session) -> None:
    page = session.notebooks.open()
    code = "import pathlib, time\nwhile not pathlib.Path('enough').exists(): time.sleep(0.1)"
    watch = (
        "cd ~/stratus/jupyter; rm -f busy; STRATUS_NOTEBOOK_INTERVAL=0.1 timeout 60 ~/stratus/venvs/.jupyter/bin/python"
        " jupyter_use.py . $(cat runtime/jpserver-*.json | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p') "
        "127.0.0.1:$(cat runtime/jpserver-*.json | sed -n 's/.*\"port\": *\\([0-9]*\\).*/\\1/p') & "
        "for i in $(seq 600); do [ -e busy ] && break; sleep 0.1; done; ls busy; kill $!"
    )
    idle = on_host(session, watch.replace("seq 600", "seq 20"))
    python = f"{on_host(session, 'echo $HOME')}/stratus/venvs/.jupyter/bin/python"
    with subprocess.Popen([python, "-c", EXECUTE, page.url, "", "{}", code], stdout=subprocess.DEVNULL):
        busy = on_host(session, watch)
        on_host(session, "touch enough")

    assert "cannot access" in idle
    assert busy.splitlines()[0] == "busy"


def test_a_notebook_there_has_a_client_of_the_dask_cluster_of_a_run(project: Project, session: Session) -> None:
    folder = find.find(str(project.folder / "many"))
    code = "import stratus; c = stratus.client(); print(c.submit(sum, [40, 2]).result(timeout=60), c.scheduler.address)"
    before = execute(session, session.notebooks.open().url, code)[1]
    assert not session.jobs.install(folder=folder).failed
    run = session.jobs.start(multi=True, folder=folder)
    page = session.notebooks.open()
    there, other = (execute(session, page.url, code, name=name)[1] for name in ("many", "python3"))
    on_host(session, "touch ~/enough")
    session.jobs.follow(run.run_id, on_line=lambda host, line: None)

    assert before.startswith("stratus.client: there is no Dask run on this VM; on your computer, RunMultiVM")
    assert re.fullmatch(r"42 tls://\S+", there)
    assert other.startswith("stratus.client: distributed is not installed in this kernel: choose the kernel many (")


def test_one_call_ends_it_with_its_kernels(session: Session) -> None:
    page = session.notebooks.open()
    execute(session, page.url, "import os; print(os.getpid())")
    kernels = "ps ax -o args | grep \"$HOME/\" | grep -c '[k]ernelapp.launch'"
    before = on_host(session, kernels)
    opened = [tunnel.purpose for tunnel in session.hosts.open_tunnels()]
    stops = [session.notebooks.stop().ran, session.notebooks.stop().ran]
    closed = session.hosts.open_tunnels()
    wait_until(lambda: on_host(session, kernels) == "0")
    left = on_host(session, "ls ~/stratus/jupyter/runtime ~/stratus/jupyter/token 2>/dev/null; true")
    again = session.notebooks.open()
    execute(session, again.url, "1")
    session.notebooks.stop()

    assert int(before) >= 1
    assert stops == [True, False]
    assert (opened, closed) == (["JupyterLab"], ())
    assert "token" not in left
    assert again.url.rpartition("=")[2] != page.url.rpartition("=")[2]


def run_notebook(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Execute a notebook by the command line."""
    command = [sys.executable, str(ROOT / "run_interface.py"), "--config", str(project.config), "jupyter", *arguments]
    env = os.environ | as_user(project.env) | {"STRATUS_HOME": str(project.folder / "laptop")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # Where the sessions of these tests look for what was started here.
    return subprocess.Popen(command, env=env, cwd=project.folder / "laptop", text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_a_notebook_runs_unattended_although_the_shell_was_killed(project: Project, session: Session) -> None:
    folder = project.folder / "analysis"
    folder.mkdir()
    wait = "import pathlib, time\nwhile not pathlib.Path.home().joinpath('go').exists(): time.sleep(0.1)"
    cells = ("epochs, name = 1, ''", "print('epochs', epochs)", wait, "total = epochs * 14", "print(name, total)")
    (folder / "analysis.ipynb").write_text(notebook(*cells, tags=("parameters",)))
    shell = run_notebook(project, f"{folder / 'analysis.ipynb'} -p epochs 3 -p name scene")
    with shell:
        assert shell.stdout
        assert any("-- cell 4 of 6: import pathlib" in line for line in shell.stdout)
        shell.kill()
    on_host(session, "touch ~/go")
    lines: list[str] = []
    session.jobs.follow("", on_line=lambda host, line: lines.append(line))
    record = session.jobs.fetch()
    executed = json.loads((record.folder / "outputs/analysis.ipynb").read_text())
    outputs = [output["text"] for cell in executed["cells"] for output in cell.get("outputs", [])]

    assert [line for line in lines if not line.startswith("--")] == ["epochs 3", "scene 42"]
    assert "-- cell 6 of 6: print(name, total)" in lines
    assert ["".join(text) for text in outputs] == ["epochs 3\n", "scene 42\n"]


def test_a_cell_that_fails_is_named_and_the_copy_has_its_error(project: Project) -> None:
    folder = project.folder / "failing"
    folder.mkdir()
    (folder / "f.ipynb").write_text(notebook("print('one')", "1 / 0", "print('three')"))
    with run_notebook(project, str(folder / "f.ipynb")) as shell:
        lines = shell.communicate(timeout=200)[0].splitlines()
    (copy,) = (line.partition(": ")[2] for line in lines if "the executed copy: " in line)
    executed = json.loads((project.folder / "laptop" / copy).read_text())

    assert shell.returncode == 1
    assert any(line.endswith("cell 2 of 3 failed: ZeroDivisionError: division by zero") for line in lines)
    assert executed["cells"][1]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert executed["cells"][2]["outputs"] == []
