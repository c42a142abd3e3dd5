"""TerminateAll on a computer whose own folder cannot be used: everything is terminated by the tags all the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.session import Session
from tests.support.simulated_project import LAG, SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def launched(project: SimulatedProject) -> Session:
    """Launch two instances and return the session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    return session


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something at a folder; skip the test where that is not allowed."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def is_a_file(home: Path) -> Iterator[None]:
    home.rename(home.with_name("moved"))
    home.write_text("not a folder\n")
    yield


@contextmanager
def cannot_be_created(home: Path) -> Iterator[None]:
    home.rename(home.with_name("moved"))
    home.symlink_to("/proc/nothing/here")
    yield


@contextmanager
def is_read_only(home: Path) -> Iterator[None]:
    with mounted(home, "--bind", str(home)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(home)], check=True)
        yield


@contextmanager
def is_full(home: Path) -> Iterator[None]:
    journal = (home / "journal.jsonl").read_bytes()
    with mounted(home, "-t", "tmpfs", "-o", f"size={(len(journal) // 4096 + 1) * 4096},nr_inodes=2", "tmpfs"):
        (home / "journal.jsonl").write_bytes(journal.ljust((len(journal) // 4096 + 1) * 4096, b"\n"))
        yield


@contextmanager
def journal_is_a_folder(home: Path) -> Iterator[None]:
    (home / "journal.jsonl").unlink()
    (home / "journal.jsonl").mkdir()
    yield


@contextmanager
def journal_is_damaged(home: Path) -> Iterator[None]:
    lines = (home / "journal.jsonl").read_bytes().splitlines()
    damaged = [b"\xff\0" * 100, b'{"id": 1}', b"[" * 100_000, lines[0].replace(b"cluster", b"clust"), b'{"half']
    (home / "journal.jsonl").write_bytes(b"\n".join(damaged))
    yield


DAMAGES = [is_a_file, cannot_be_created, is_read_only, is_full, journal_is_a_folder, journal_is_damaged]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_everything_is_terminated_by_the_tags(simulate: Simulate, damage: Callable[[Path], Iterator[None]]) -> None:
    project = simulate()
    launched(project)
    home = project.session().context.home

    with damage(home):  # type: ignore[attr-defined]
        report = project.session().cluster.terminate()

    assert project.our_states == []
    assert [result.state for result in report.instances] == ["terminated"] * 2
    assert (report.group_state, report.key_state, report.remaining) == ("gone", "gone", ())
    assert any(str(home) in text for text in project.warnings)


@pytest.mark.parametrize("damage", [journal_is_a_folder, journal_is_damaged], ids=lambda damage: damage.__name__)
def test_without_a_proof_and_without_a_journal_something_may_be_left(
    simulate: Simulate, damage: Callable[[Path], Iterator[None]]
) -> None:
    project = simulate()
    session = launched(project)
    session.cluster.terminate()

    with damage(session.context.home):  # type: ignore[attr-defined]
        report = project.session().cluster.terminate()

    assert any("may not be visible yet" in str(line) for line in report.remaining)


@pytest.mark.parametrize("damage", [is_a_file, is_read_only], ids=lambda damage: damage.__name__)
def test_instances_that_ec2_does_not_show_yet_are_terminated_too(
    simulate: Simulate, damage: Callable[[Path], Iterator[None]]
) -> None:
    project = simulate(LAG)
    session = launched(project)

    with damage(session.context.home):  # type: ignore[attr-defined]
        report = project.session().cluster.terminate()

    assert project.our_states == []
    assert report.remaining == ()
