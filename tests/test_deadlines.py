"""Every wait in ``orchestrator/`` has a deadline, or an entry here with its reason; time comes from the clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))

BOUNDED = {
    "core/clock.py:Clock.attempts while True": "returns at the deadline",
    "aws/client.py:Clients.in_parallel .result()": "of AWS calls, which end by botocore's own timeouts",
    "hosts/parallel.py:_Workers.run_worker while True": "ends when no host is waiting",
    "hosts/parallel.py:_Workers.result .get()": "called only while the queue is not empty, by its only reader",
    "interface/progress.py:ProgressBoard._with_heartbeat .join()": "of a thread that ends within a second",
    "interface/shell/status_poller.py:StatusPoller._work while True": "once per refresh; each request is bounded",
    "interface/shell/app.py:start Config": "IPython's, no network",
    "interface/verbs/hosts.py:ssh call": "a terminal session, which the user ends",
    "interface/verbs/jobs.py:watch while True": "until the run ends or Ctrl-C; silence of 20 s ends it, too",
    "aws/sagemaker/logs.py:LogReader._messages while True": "until the token repeats; each call is bounded",
    "aws/storage/upload.py:in_threads .result()": "of calls to S3, which end by botocore's own timeouts",
    "services/storage.py:StorageService._outcomes .result()": "of calls to S3, which end by botocore's own timeouts",
    "services/managed/training_runs.py:TrainingRuns._watch while True": "until the job ends, by its limit of time",
    "remote/stage.py:run flock": "of a task of the same run that prepares its data; the end of the run ends both",
    "hosts/tunnels.py:_write flock": "of a file that no other process knows yet",
    "remote/sagemaker/training_environment.py:Environment.make_venv run": "the job's limit of time ends the container",
    "remote/sagemaker/training_environment.py:Environment.step run": "the job's limit of time ends the container",
    "remote/sagemaker/training_environment.py:output run": "the job's limit of time ends the container",
    "remote/sagemaker/training_host.py:main .wait()": "SageMaker ends the container at the job's time limit",
    "interface/verbs/sagemaker/tuning.py:_watch while True": "until the tuning job ends or Ctrl-C; 29 days at most",
    "remote/dask_gate.py:connect while True": "raises at the deadline it is given",
    "remote/mesh.py:Agent.serve .wait()": "as long as the run; silence of 15 s on its first host's side ends it, too",
    "remote/mesh.py:Agent._report_end .wait()": "inside a wait_for of 4 s",
    "remote/mesh.py:Agent._send_output .wait()": "as long as the command; 15 s of silence end it, too",
    "remote/mesh.py:end .wait()": "inside a wait_for of 5 s",
    "remote/mesh_guard.py:main .wait()": "as long as the run; a lost host ends it, too",
    "remote/mesh_guard.py:main .result()": "of a task that has ended",
    "remote/mesh_lead.py:Lead._connect while True": "returns at the deadline it is given",
    "remote/mesh_lead.py:Lead.run .result()": "of a task that has ended",
    "remote/mesh_lead.py:Lead.run .wait()": "as long as the job; a lost host ends it, too",
    "jobs/follow.py:_follow_host while True": "as long as the run; a silent host counts as lost",
    "ssh/tar_stream.py:pack .join()": "of a thread whose output has ended",
    "ssh/connection_pool.py:ConnectionPool.wait_until_ready while True": "raises at the deadline it is given",
    "ssh/connection_pool.py:ConnectionPool.open_channel while True": "a second time at most: over a fresh connection",
    "ssh/connection_pool.py:_growing_pauses while True": "yields lengths of pauses, does not wait",
    "ssh/channel.py:ChannelSession.output while True": "checks silence and deadline in every iteration",
    "ssh/channel.py:ChannelSession._write .get()": "a daemon thread, ended by closing the session",
    "ssh/tunnel.py:_ForwardedConnection.forward .join()": "of a thread whose socket was shut down",
    "jobs/sample_data.py:_run .wait()": "of a process that a timer kills",
    "jobs/sample_data.py:_killed_at_the_end .wait()": "of a process that was killed",
    "jobs/logs.py:tail .get()": "every reader ends its part, at the latest after 20 s of silence",
}
"""Waits without a timeout of their own: ``module:function call`` -> their bound."""

TIME_SOURCES = {"time.time", "time.sleep", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.utcnow"}
MAY_READ_TIME = ("core/clock.py", "ssh/", "remote/")
"""Modules that may read the system's time: SSH follows the clock of sockets; remote/ runs on the VMs."""

# Methods that wait forever when they are called without arguments: of threads, events, processes, futures, queues.
UNBOUNDED_METHODS = {"wait", "join", "result", "get", "acquire", "communicate", "exception", "shutdown_wait"}
# Functions that need a timeout by keyword, and the position of the argument that may be it instead.
NEEDS_TIMEOUT = {
    "urlopen": 2,
    "create_connection": 1,
    "run": None,
    "call": None,
    "check_call": None,
    "check_output": None,
}
SUBPROCESS_CALLS = {"run", "call", "check_call", "check_output"}
TIMEOUTS = {"timeout", "deadline", "deadline_s", "timeout_s"}


def waits(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every wait without a timeout in a file: ``function call``, and its line."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inside = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".lstrip(".")
            wait = unbounded_wait(child)
            if wait:
                yield f"{inside} {wait}", child.lineno  # type: ignore[attr-defined]
            yield from visit(child, inside)

    yield from visit(tree(path), "")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def unbounded_wait(node: ast.AST) -> str:
    """Return the kind of a wait without a timeout; empty if the node is none."""
    if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
        return "while True"
    if not isinstance(node, ast.Call):
        return ""
    called = ast.unparse(node.func)
    name = called.rpartition(".")[2]
    has_timeout = bool(TIMEOUTS & {str(keyword.arg) for keyword in node.keywords})
    if isinstance(node.func, ast.Attribute) and name in UNBOUNDED_METHODS and not node.args and not has_timeout:
        return f".{name}()"
    if called in ("fcntl.flock", "flock") and "LOCK_EX" in ast.unparse(node) and "LOCK_NB" not in ast.unparse(node):
        return "flock"
    if name in SUBPROCESS_CALLS and not called.startswith("subprocess."):
        return ""
    if (
        name in NEEDS_TIMEOUT
        and not has_timeout
        and ((limit := NEEDS_TIMEOUT[name]) is None or len(node.args) <= limit)
    ):
        return name
    if called == "Config" and not {"connect_timeout", "read_timeout"} <= {
        str(keyword.arg) for keyword in node.keywords
    }:
        return "Config"
    return ""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_wait_has_a_timeout(path: Path) -> None:
    """Otherwise give it a timeout, use `Clock.attempts`, or add its bound to `BOUNDED`."""
    name = name_of(path)
    unbounded = [f"{name}:{line} {wait}" for wait, line in waits(path) if f"{name}:{wait}" not in BOUNDED]
    assert not unbounded


def test_every_exception_is_still_used() -> None:
    """A stale entry would excuse a future wait."""
    all_waits = {f"{name_of(path)}:{wait}" for path in FILES for wait, _ in waits(path)}
    assert BOUNDED.keys() <= all_waits


@pytest.mark.parametrize("path", [path for path in FILES if not name_of(path).startswith(MAY_READ_TIME)], ids=name_of)
def test_time_comes_from_the_clock(path: Path) -> None:
    """A module that reads the system's time cannot be tested without waiting, nor simulated."""
    attributes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
    assert [f"{node.lineno} {ast.unparse(node)}" for node in attributes if ast.unparse(node) in TIME_SOURCES] == []


@pytest.mark.parametrize(
    ("source", "wait"),
    [
        ("event.wait()", ".wait()"),
        ("event.wait(5)", ""),
        ("thread.join()", ".join()"),
        ("thread.join(timeout=3)", ""),
        ("', '.join(names)", ""),
        ("queue.get()", ".get()"),
        ("facts.get('a')", ""),
        ("future.result()", ".result()"),
        ("urlopen(url)", "urlopen"),
        ("urlopen(url, timeout=5)", ""),
        ("socket.create_connection(address)", "create_connection"),
        ("socket.create_connection(address, 3)", ""),
        ("subprocess.run(args)", "run"),
        ("ssh_client.run(host, 'true')", ""),
        ("fcntl.flock(file, fcntl.LOCK_EX)", "flock"),
        ("fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", ""),
        ("Config(retries={})", "Config"),
        ("while True: pass", "while True"),
        ("while left: pass", ""),
    ],
)
def test_the_search_recognizes_waits(source: str, wait: str) -> None:
    statement = ast.parse(source).body[0]
    assert unbounded_wait(statement.value if isinstance(statement, ast.Expr) else statement) == wait
