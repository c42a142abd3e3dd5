"""Several folders and files of a host in one command: each part has its own outcome."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import HostError
from orchestrator.ssh import SshClient
from orchestrator.ssh.receive import Part, skip_sockets
from orchestrator.ssh.receive_limits import MAX_OUTPUT_BYTES
from tests.support.ssh.ssh_lab import Lab

WORD = "broken"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("parts"), hosts=2, first=130)
    yield lab
    lab.stop()


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write_program(home: Path, name: str, script: str) -> None:
    """Put a script in the place of a program of the host."""
    (home / "bin").mkdir(exist_ok=True)
    (home / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (home / "bin" / name).chmod(0o755)


def write_folders(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir()
        (home / name / "file").write_text(name)


def test_folders_files_and_what_is_absent(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    home = lab.homes[0]
    write_folders(home, "log", "-it's $(odd)")
    (home / "scores.csv").write_text("1,2")
    (home / "-best").symlink_to("scores.csv")
    (home / "latest").symlink_to("log")
    parts = [
        Part("log", tmp_path / "a"),
        Part("no/such", tmp_path / "b"),
        Part("scores.csv", tmp_path / "c"),
        Part(str(home / "-best"), tmp_path / "d", tmp_path / "e"),
        Part("-it's $(odd)", tmp_path / "f"),
        Part("latest", tmp_path / "g"),
    ]

    sizes = ssh_client.fetch_parts(lab.host(), parts, timeout_s=60)

    assert sizes == [3, None, 3, 3, 12, 3]
    assert content(tmp_path) == {
        "a/file": "log",
        "c/scores.csv": "1,2",
        "e/-best": "1,2",
        "f/file": "-it's $(odd)",
        "g/file": "log",
    }


def test_what_is_left_out_belongs_to_its_part(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    names = ("first", "second")
    left_out: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        folder = lab.homes[0] / name
        folder.mkdir()
        (folder / f"{name} link").symlink_to("/etc")
        # By its descriptor: the path of a socket may have 107 characters only.
        descriptor = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{descriptor}/{name} server")
        os.close(descriptor)

    def part(name: str) -> Part:
        return Part(name, tmp_path / name, on_skipped=lambda entry, _: left_out[name].append(entry))

    unheard = Part("first", tmp_path / "unheard")
    parts = [part("first"), Part("absent", tmp_path), unheard, part("second")]
    sizes = ssh_client.fetch_parts(lab.host(), parts, timeout_s=60)

    assert sizes == [0, None, 0, 0]
    assert left_out == {name: [f"{name} link", f"{name} server"] for name in names}


def test_a_part_that_cannot_be_read_is_an_error_after_the_others(
    lab: Lab, ssh_client: SshClient, tmp_path: Path
) -> None:
    home = lab.homes[1]
    write_folders(home, WORD, "good")
    write_program(home, "tar", f'/bin/tar "$@"\ncase "$*" in *{WORD}*) echo "tar: it broke" >&2; exit 2;; esac')

    with pytest.raises(HostError, match=rf"^ml-1: could not fetch {WORD}: tar: it broke$"):
        ssh_client.fetch_parts(lab.host(1), [Part(WORD, tmp_path / "a"), Part("good", tmp_path / "b")], timeout_s=60)

    assert content(tmp_path) == {"a/file": WORD, "b/file": "good"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('/bin/tar "$@"; exit 2', "tar ended with 2"),
        ('/bin/tar "$@"; printf "\\377"', "tar ended with \ufffd0"),
        ('/bin/tar "$@"; printf "\\377 broke\\n" >&2; exit 2', "\ufffd broke"),
    ],
)
def test_an_archive_without_a_good_status_is_an_error(
    lab: Lab, ssh_client: SshClient, tmp_path: Path, script: str, reason: str
) -> None:
    (lab.homes[1] / "any").mkdir(exist_ok=True)
    write_program(lab.homes[1], "tar", script)

    with pytest.raises(HostError, match=rf"^ml-1: could not fetch any: {reason}$"):
        ssh_client.fetch(lab.host(1), "any", tmp_path, timeout_s=60)


def test_an_archive_of_nothing_is_an_empty_folder(lab: Lab, ssh_client: SshClient, tmp_path: Path) -> None:
    (lab.homes[1] / "any").mkdir(exist_ok=True)
    write_program(lab.homes[1], "tar", "exec /bin/tar -T /dev/null -czf -")

    assert ssh_client.fetch(lab.host(1), "any", tmp_path / "deep/local", timeout_s=60) == 0
    assert (tmp_path / "deep/local").is_dir()


@pytest.mark.parametrize("script", ["echo welcome", "echo welcome; /bin/tar -C any -czf - .; echo 0"])
def test_a_shell_that_says_something_else_is_an_error(
    lab: Lab, ssh_client: SshClient, tmp_path: Path, script: str
) -> None:
    (lab.homes[1] / "any").mkdir(exist_ok=True)
    write_program(lab.homes[1], "sh", script)
    try:
        with pytest.raises(HostError, match=r"^ml-1: could not fetch any: tar ended with no exit status$"):
            ssh_client.fetch(lab.host(1), "any", tmp_path, timeout_s=60)
    finally:
        (lab.homes[1] / "bin/sh").unlink()


@pytest.mark.parametrize("extra_bytes", [0, 1])
def test_error_output_has_a_limit(lab: Lab, ssh_client: SshClient, tmp_path: Path, extra_bytes: int) -> None:
    (lab.homes[1] / "any").mkdir(exist_ok=True)
    count = MAX_OUTPUT_BYTES - len("@@part\n") + extra_bytes
    write_program(lab.homes[1], "tar", f'head -c {count} /dev/zero >&2; exec /bin/tar "$@"')

    if not extra_bytes:
        assert ssh_client.fetch(lab.host(1), "any", tmp_path, timeout_s=60) == 0
        return
    with pytest.raises(HostError, match=r"^ml-1: more than 16 MiB of error output$"):
        ssh_client.fetch(lab.host(1), "any", tmp_path, timeout_s=60)


@pytest.mark.parametrize("script", ["echo damaged", "exit 2", "/bin/tar -cf - /dev/null", "kill -9 $PPID"])
def test_a_damaged_stream_ends_at_the_damage(lab: Lab, ssh_client: SshClient, tmp_path: Path, script: str) -> None:
    home = lab.homes[1]
    for name in ("before", "damaged", "after"):
        (home / name).mkdir(exist_ok=True)
        (home / name / "file").write_text(name)
    write_program(home, "tar", f'case "$*" in *damaged*) {script};; *) exec /bin/tar "$@";; esac')
    received: list[str] = []

    def part(name: str) -> Part:
        return Part(name, tmp_path / name, on_received=lambda: received.append(name))

    with pytest.raises(HostError, match=r"^ml-1: could not fetch damaged: ") as caught:
        ssh_client.fetch_parts(lab.host(1), [part("before"), part("damaged"), part("after")], timeout_s=60)

    assert content(tmp_path) == {"before/file": "before"}
    assert received == ["before"]
    assert isinstance(caught.value.__cause__, tarfile.TarError | EOFError)


def test_sockets_are_named_whatever_bytes_their_names_have() -> None:
    skipped: dict[str, str] = {}
    skip_sockets(b"tar: ./a\xff: socket ignored\ntar: b c: socket ignored\n", skipped.__setitem__)

    assert skipped == {"a\ufffd": "a socket", "b c": "a socket"}
