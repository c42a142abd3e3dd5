"""No wait without a deadline: whatever waits in ``orchestrator/`` says for how long, or stands here with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))

BOUNDED = {
    "core/clock.py:Clock.attempts while True": "the deadline itself: returns at it",
    "aws/client.py:Clients.in_parallel .result()": "of AWS calls, which end by botocore's own timeouts",
    "hosts/parallel.py:_Workers.run_worker while True": "ends when no host is left to begin with",
    "hosts/parallel.py:_Workers.result .get()": "asked only while the queue is not empty, by its one reader",
    "interface/progress.py:Board._murmuring .join()": "of a thread that was told to end and looks every second",
    "interface/shell/status_poller.py:Pulse._work while True": "once per refresh; each request is bounded",
    "interface/shell/app.py:start Config": "IPython's, no network",
    "interface/verbs/jobs.py:Verbs.ssh call": "a terminal session, which the user ends",
    "interface/verbs/jobs.py:Verbs._watch while True": "until the run ends or Ctrl-C; silence of 20 s ends it, too",
    "remote/dask_gate.py:connect while True": "raises at the deadline it is given",
    "remote/mesh.py:Agent.serve .wait()": "as long as the run; silence of 15 s on its first host's side ends it, too",
    "remote/mesh.py:Agent._report_end .wait()": "inside a wait_for of 4 s",
    "remote/mesh.py:Agent._send_output .wait()": "as long as the command; its asker's silence of 15 s ends it, too",
    "remote/mesh.py:end .wait()": "inside a wait_for of 5 s",
    "remote/mesh_guard.py:main .wait()": "as long as the run; a lost host ends it, too",
    "remote/mesh_guard.py:main .result()": "of a task that has ended",
    "remote/mesh_lead.py:Lead._connect while True": "returns at the deadline it is given",
    "remote/mesh_lead.py:Lead.run .result()": "of a task that has ended",
    "remote/mesh_lead.py:Lead.run .wait()": "as long as the job; a lost host ends it, too",
    "jobs/follow.py:_follow_host while True": "as long as the run; a silent host is lost after 20 s plus patience",
    "ssh/tar_stream.py:pack .join()": "of a thread whose output has ended",
    "ssh/connection_pool.py:ConnectionPool.wait_until_ready while True": "raises at the deadline it is given",
    "ssh/connection_pool.py:ConnectionPool.open_channel while True": "a second time at most: over a fresh connection",
    "ssh/connection_pool.py:_growing_pauses while True": "lengths of pauses, no wait",
    "ssh/channel.py:ChannelSession.output while True": "checks silence and deadline at every turn",
    "ssh/channel.py:ChannelSession._write .get()": "a daemon thread; the end of the exchange puts its None",
    "ssh/tunnel.py:_ForwardedConnection.forward .join()": "of a thread whose socket was shut down",
    "jobs/logs.py:tail .get()": "every reader puts its end, and none outlives 20 s of silence",
}
"""Waits that name no time themselves: ``module:function what`` -> what bounds them all the same."""

SLEEPERS = {"core/clock.py", "jobs/follow.py", "remote/dask_gate.py"}
"""Modules that may call time.sleep; all others wait through `Clock`, whose attempts end at a deadline.

runner looks for a lost host again for a minute; dask_gate runs on the VMs, on Python alone."""

# Methods that wait for ever when they are called without arguments: of threads, events, processes, futures, queues.
FOR_EVER = {"wait", "join", "result", "get", "acquire", "communicate", "exception", "shutdown_wait"}
# Functions that need a timeout by name, and the position at which it may stand instead.
TIMED = {"urlopen": 2, "create_connection": 1, "run": None, "call": None, "check_call": None, "check_output": None}
OF_SUBPROCESS = {"run", "call", "check_call", "check_output"}
TIMEOUTS = {"timeout", "deadline", "deadline_s", "timeout_s"}


def waits(path: Path) -> Iterator[tuple[str, int]]:
    """Every wait in a file that names no time: ``function what``, and its line."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inside = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".lstrip(".")
            what = endless(child)
            if what:
                yield f"{inside} {what}", child.lineno  # type: ignore[attr-defined]
            yield from visit(child, inside)

    yield from visit(tree(path), "")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def endless(node: ast.AST) -> str:
    """What waits here without a time, in a word; empty when nothing does."""
    if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
        return "while True"
    if not isinstance(node, ast.Call):
        return ""
    called = ast.unparse(node.func)
    name = called.rpartition(".")[2]
    timed = bool(TIMEOUTS & {str(word.arg) for word in node.keywords})
    if isinstance(node.func, ast.Attribute) and name in FOR_EVER and not node.args and not timed:
        return f".{name}()"
    if called in ("fcntl.flock", "flock") and "LOCK_EX" in ast.unparse(node) and "LOCK_NB" not in ast.unparse(node):
        return "flock"
    if name in OF_SUBPROCESS and not called.startswith("subprocess."):
        return ""
    if name in TIMED and not timed and (TIMED[name] is None or len(node.args) <= TIMED[name]):
        return name
    if called == "Config" and not {"connect_timeout", "read_timeout"} <= {str(word.arg) for word in node.keywords}:
        return "Config"
    return ""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_whatever_waits_says_for_how_long(path: Path) -> None:
    """Give it a timeout, use `Clock.attempts`, or say in `BOUNDED` what ends it."""
    name = name_of(path)
    unbounded = [f"{name}:{line} {what}" for what, line in waits(path) if f"{name}:{what}" not in BOUNDED]
    assert not unbounded


def test_no_reason_outlives_its_wait() -> None:
    """An entry whose wait is gone would excuse the next one."""
    found = {f"{name_of(path)}:{what}" for path in FILES for what, _ in waits(path)}
    assert BOUNDED.keys() <= found


@pytest.mark.parametrize(
    "path", [path for path in FILES if str(path.relative_to(PACKAGE)) not in SLEEPERS], ids=name_of
)
def test_nobody_sleeps_by_hand(path: Path) -> None:
    """A sleep in a loop is a wait whose deadline nobody sees."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    asleep = [call.lineno for call in calls if ast.unparse(call.func) == "time.sleep"]
    assert not asleep


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("event.wait()", ".wait()"),
        ("event.wait(5)", ""),
        ("thread.join()", ".join()"),
        ("thread.join(timeout=3)", ""),
        ("', '.join(words)", ""),
        ("queue.get()", ".get()"),
        ("facts.get('a')", ""),
        ("future.result()", ".result()"),
        ("urlopen(url)", "urlopen"),
        ("urlopen(url, timeout=5)", ""),
        ("socket.create_connection(place)", "create_connection"),
        ("socket.create_connection(place, 3)", ""),
        ("subprocess.run(words)", "run"),
        ("links.run(host, 'true')", ""),
        ("fcntl.flock(file, fcntl.LOCK_EX)", "flock"),
        ("fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", ""),
        ("Config(retries={})", "Config"),
        ("while True: pass", "while True"),
        ("while left: pass", ""),
    ],
)
def test_the_search_knows_a_wait_when_it_sees_one(source: str, what: str) -> None:
    statement = ast.parse(source).body[0]
    assert endless(statement.value if isinstance(statement, ast.Expr) else statement) == what
