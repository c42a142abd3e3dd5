"""Checks of everything that a host, a file or a user can hand in.

Each takes one input, and raises nothing but what the reader documents: anything else would be a traceback.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from localcloud.scenarios import scenario
from orchestrator.aws.launch import launch_log
from orchestrator.config import settings
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConfigError, HostError
from orchestrator.core.journal import Journal
from orchestrator.hosts import usage
from orchestrator.install import installer
from orchestrator.interface.console import Console
from orchestrator.interface.render import registry, runs, units
from orchestrator.interface.run_progress import RunProgress
from orchestrator.jobs import host_output, query, results, spec
from orchestrator.jobs.storage import data_items
from orchestrator.ssh import user_config
from orchestrator.ssh.channel import LineSplitter
from orchestrator.ssh.tar_stream import ChunkReader, UnpackBudget, unpack
from tests.fuzz import aws_answers, inputs, typed
from tests.fuzz.inputs import HOST, RUN

MAX_READ_S = 2.0
"""CPU time for one line of 64 KiB: a hundred times what it takes, and a tenth of quadratic time."""


def is_safe(text: str) -> bool:
    """Return True if a terminal obeys no character of a text."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text if letter != "\t")


def check_listing(output: str) -> None:
    """Runs that a host lists are checked records, and each can be shown."""
    registry.load()
    listed = query.combine({HOST: output})
    for run in listed.runs:
        assert run.run_id == RUN
        assert all(data_items.is_inside(path) for path in run.outputs)
        for line in registry.lines([run.summary], REAL_CLOCK.now()):
            assert is_safe(str(units.single_line(line)))
        json.dumps(registry.document(run.summary))
    assert all(problem.isprintable() for problem in listed.problems)


def check_scripts(output: str) -> None:
    """Output of every other remote script is a record or a host's error."""
    host_output.parse_start(output)
    host_output.parse_left(output)
    host_output.parse_kill(output)
    for parse in (host_output.parse_files, lambda text: usage.parse(HOST, f"@@host {text}"), usage_lines):
        with contextlib.suppress(HostError):
            parse(output)


def usage_lines(output: str) -> None:
    """Parse lines on GPUs and processes."""
    usage.parse(HOST, f"@@host 8 0.5 100 50\n@@gpu {output}\n@@app {output}\n@@task {output}\n")


def check_log(chunks: list[bytes]) -> None:
    """A log of any bytes is lines and an exit."""
    splitter, reader = LineSplitter(), host_output.LogReader()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    passed = [whole for line in [*lines, *splitter.flush()] if (whole := reader.feed(line)) is not None]
    host_output.parse_exit(HOST, reader, passed)
    assert all(is_safe(units.visible(units.last_state(line))) for line in passed)


def check_archive(stream: bytes) -> None:
    """Nothing of an archive is outside the folder, and no more than the budget."""
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        (top / "mine").write_text("mine")
        (top / "in").mkdir()
        with contextlib.suppress(HostError, tarfile.TarError, EOFError, OSError):
            unpack(ChunkReader([stream]), top / "in", lambda name, reason: None, UnpackBudget(2000, 20))
        assert [path.name for path in sorted(top.iterdir())] == ["in", "mine"]
        assert (top / "mine").read_text() == "mine"
        inside = list((top / "in").rglob("*"))
        assert not any(path.is_symlink() for path in inside)
        assert sum(path.stat().st_size for path in inside if path.is_file() and path.stat().st_nlink == 1) <= 2000


def check_config(data: bytes) -> None:
    """A config file is settings, or mistakes with their lines."""
    _check_file(data, "config.ini", lambda path: settings.load(path, {"HOME": "/home/u"}, files=False))


def check_job(data: bytes) -> None:
    """A job.ini is a job, or mistakes with their lines."""
    _check_file(data, "job.ini", lambda path: spec.load(path.parent, {"TOKEN": "x"}))


def _check_file(data: bytes, name: str, load: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name).write_bytes(data)
        with contextlib.suppress(ConfigError):
            load(Path(scratch) / name)


def check_scenario(text: str) -> None:
    """A scenario is faults, or one error."""
    with contextlib.suppress(scenario.ScenarioError):
        scenario.parse(text)


def check_journal(data: bytes) -> None:
    """A journal of any bytes is entries; what is damaged is left out."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "journal.jsonl").write_bytes(data)
        journal = Journal(Path(scratch), REAL_CLOCK)
        for cluster_id, entries in launch_log.unended(journal).items():
            log = launch_log.LaunchLog(journal, cluster_id, REAL_CLOCK)
            log.recent(), log.reserved_names(), log.unconfirmed()
            assert all(
                isinstance(launched.id, str) for entry in entries for launched in launch_log.launched_instances(entry)
            )


def check_outputs(files: Iterable[tuple[str, bytes]]) -> None:
    """Whatever a job wrote into its outputs and state can be read and shown."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "outputs").mkdir()
        for name, data in files:
            (folder / name).write_bytes(data)
        metrics = results.read_metrics(folder, ())
        results.read_versions(folder), results.read_image_digests(folder)
        assert all(isinstance(line, str) for line in runs.metrics(metrics.values))


def check_ssh_config(data: bytes) -> None:
    """The user's SSH config keeps every line of its own, whatever is in it."""
    with tempfile.TemporaryDirectory() as scratch:
        config, target = Path(scratch) / "config", Path("/h/ssh/config")
        config.write_bytes(data)
        had = user_config.is_included(config, target)
        user_config.include(config, target)
        assert user_config.is_included(config, target)
        user_config.exclude(config, target)
        assert had or config.read_bytes().splitlines() == data.splitlines()


def check_long_line(line: str) -> None:
    """A long line takes each reader some milliseconds: with quadratic time, one line would stop all threads."""
    progress = RunProgress(Console(), REAL_CLOCK)
    parser = installer.OutputParser(HOST, REAL_CLOCK, lambda event: None, lambda line: None)
    readers: list[Callable[[str], object]] = [
        lambda line: list(LineSplitter().feed(line.encode(errors="replace"))),
        lambda line: host_output.LogReader().feed(line),
        lambda line: progress.read_line(HOST, line),
        parser.read_line,
        lambda line: units.visible(units.last_state(line)),
        lambda line: query.combine({HOST: line}),
        usage_lines,
    ]
    for read in readers:
        began_s = time.thread_time()
        with contextlib.suppress(HostError):
            read(line)
        assert time.thread_time() - began_s < MAX_READ_S


FUZZERS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "job.json and state files": (inputs.listings(), check_listing),
    "output of remote scripts": (
        st.one_of(inputs.TEXTS, st.text(max_size=200).map(lambda text: f"@@file {text}")),
        check_scripts,
    ),
    "log lines": (
        st.lists(st.one_of(st.binary(max_size=80), inputs.TEXTS.map(lambda t: t.encode(errors="replace")))),
        check_log,
    ),
    "long lines": (inputs.long_lines(), check_long_line),
    "tar streams": (inputs.archives(), check_archive),
    "config.ini": (inputs.ini_files(settings.TABLES), check_config),
    "job.ini": (inputs.ini_files(spec.TABLES), check_job),
    "scenario": (inputs.scenarios(), check_scenario),
    "journal": (inputs.journals(), check_journal),
    "outputs of a job": (inputs.OUTPUTS, check_outputs),
    "ssh config": (inputs.SSH_CONFIGS, check_ssh_config),
    "answers of AWS": (aws_answers.ANSWERS, aws_answers.check),
    "command lines": (inputs.typed_words(typed.COMMANDS), typed.check_command),
    "lines at the prompt": (inputs.typed_lines(typed.VERBS), typed.check_line),
}
SLOW = ("answers of AWS",)
"""Kinds whose inputs take a second each."""
