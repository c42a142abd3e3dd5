"""Uploads on a host: only missing contents travel, and no job, interruption or other upload spoils a folder."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.install.parcel import Parcel
from orchestrator.install.requests import HostRequests
from orchestrator.install.upload import Upload, scan
from tests.support.script_host import HOST, TIMEOUT_S, ScriptHost, states


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    """A host without anything installed."""
    (tmp_path / "home").mkdir()
    return ScriptHost(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with files of all kinds."""
    folder = tmp_path / "job"
    (folder / "deep/er").mkdir(parents=True)
    content = {"run.py": b"print(1)\n", "deep/er/empty": b"", "copy.py": b"print(1)\n", "big": os.urandom(3_500_001)}
    for name, data in (content | {"text": b"one line\n" * 300_000, "ü \udce4\n": b"odd"}).items():
        (folder / name).write_bytes(data)
    (folder / "run.py").chmod(0o755)
    (folder / "link").symlink_to("run.py")
    os.utime(folder / "big", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    return folder


def plan(upload: Upload) -> list[list[str]]:
    return [["code", "parcel.sh", upload.name, upload.digest, upload.remote_path]]


def send(vm: ScriptHost, source: Path, job: str = "job") -> list[str]:
    """Upload a folder as a job's code, check that it has arrived, and return the names of the files requested."""
    upload = scan(f"{job}.code", source, f"jobs/{job}")
    status, lines = vm.install(plan(upload), upload)
    assert (status, states(lines)) == (0, ["code done"]), lines
    folder = vm.home / "stratus/jobs" / job
    assert contents(folder) == contents(source)
    assert [path.name for path in folder.parent.iterdir() if "." in path.name] == []
    return requested(lines, upload)


def requested(lines: list[str], upload: Upload) -> list[str]:
    """Return the names of the files that a host requested."""
    bitmaps = [base64.b64decode(line.split()[2]) for line in lines if line.startswith("@@missing")]
    bits = int.from_bytes(bitmaps[0], "little") if bitmaps else 0
    return [file.name for number, file in enumerate(upload.files) if bits >> number & 1]


def contents(folder: Path) -> dict[str, tuple[bytes, bool] | str]:
    """Return content and execute bit of each file, and the targets of links."""
    return {
        os.fspath(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else (path.read_bytes(), os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100))
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_only_files_that_changed_travel(vm: ScriptHost, source: Path) -> None:
    """A rename, a new mode and a copy of what is there need no content."""
    assert len(send(vm, source)) == 6
    big = vm.home / "stratus/jobs/job/big"
    inode = big.stat().st_ino
    assert big.stat().st_mtime_ns == 1_600_000_000_123_456_789
    (source / "deep/new.py").write_text("new")
    assert send(vm, source) == ["deep/new.py"]
    # Neither sent nor copied.
    assert big.stat().st_ino == inode

    (source / "text").rename(source / "text2")
    (source / "run.py").chmod(0o644)
    (source / "deep/er/empty").unlink()
    assert send(vm, source) == []


def edit(vm: ScriptHost, source: Path, upload: Upload | None = None) -> bool:
    """Upload a folder whose changes are noted; return True if the host requested nothing.

    :param upload: of the folder; None for the folder as it is.
    """
    upload = upload or scan("job.code", source, "jobs/job", hashes_folder=source.with_name("hashes"))
    status, lines = vm.install(plan(upload), upload)
    assert (status, states(lines)) == (0, ["code done"]), lines
    assert contents(vm.home / "stratus/jobs/job") == contents(source)
    return not any(line.startswith("@@want") for line in lines)


def test_an_edit_needs_no_request(vm: ScriptHost, source: Path) -> None:
    """Also of a new file; modes and times are those of this computer, and the next edit counts from there."""
    assert not edit(vm, source)
    (source / "run.py").write_text("print(3)\n")
    (source / "deep/new folder").mkdir()
    (source / "deep/new folder/tool").write_text("new")
    (source / "deep/new folder/tool").chmod(0o755)
    os.utime(source / "run.py", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    assert edit(vm, source)
    assert (vm.home / "stratus/jobs/job/run.py").stat().st_mtime_ns == 1_600_000_000_123_456_789

    (source / "run.py").write_text("print(4)\n")
    assert edit(vm, source)
    (source / "deep/new folder/tool").unlink()
    assert not edit(vm, source)


def test_an_edit_of_a_folder_that_a_job_has_changed_is_requested(vm: ScriptHost, source: Path) -> None:
    """What the job wrote, and a link that it made, do not stay."""
    edit(vm, source)
    folder = vm.home / "stratus/jobs/job"
    (folder / "written-by-the-job").touch()
    (source / "run.py").write_text("print(3)\n")
    assert not edit(vm, source)

    (folder / "deep").rename(folder / "moved")
    (folder / "deep").symlink_to("/tmp")
    (source / "run.py").write_text("print(4)\n")
    assert not edit(vm, source)
    assert not (folder / "deep").is_symlink()


def test_a_file_that_changes_after_the_scan_is_requested(vm: ScriptHost, source: Path) -> None:
    """The host compares the checksum."""
    edit(vm, source)
    (source / "run.py").write_text("print(3)\n")
    upload = scan("job.code", source, "jobs/job", hashes_folder=source.with_name("hashes"))
    (source / "run.py").write_text("print(4)\n")

    assert not edit(vm, source, upload)


def test_a_host_that_missed_an_upload_requests_what_it_lacks(vm: ScriptHost, source: Path) -> None:
    edit(vm, source)
    for number in (3, 4):
        (source / "run.py").write_text(f"print({number})\n")
        upload = scan("job.code", source, "jobs/job", hashes_folder=source.with_name("hashes"))

    assert not edit(vm, source, upload)


def test_without_gnu_find_every_edit_is_requested(vm: ScriptHost, source: Path) -> None:
    """Such as on Alpine Linux: a change of the folder would not show."""
    tools = vm.home / "tools"
    tools.mkdir()
    (tools / "find").write_text("#!/bin/sh\nexit 1\n")
    (tools / "find").chmod(0o755)
    vm = ScriptHost(vm.home, shell=("env", f"PATH={tools}:{os.environ['PATH']}", "sh", "-c"))
    edit(vm, source)
    (source / "run.py").write_text("print(3)\n")

    assert not edit(vm, source)


def test_a_job_that_writes_into_its_folder_spoils_no_later_upload(vm: ScriptHost, source: Path) -> None:
    """Not even if it leaves size and time of the file as they were."""
    send(vm, source)
    big = vm.home / "stratus/jobs/job/big"
    stat = big.stat()
    with big.open("r+b") as file:
        file.write(b"changed by the job")
    os.utime(big, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (vm.home / "stratus/jobs/job/run.py").unlink()
    (vm.home / "stratus/jobs/job/written-by-the-job").touch()
    (source / "deep/er/empty").write_text("no longer")

    # The digest of big is no longer known there; print(1) is still there as copy.py.
    assert send(vm, source) == ["big", "deep/er/empty"]


def test_jobs_share_contents_but_no_files(vm: ScriptHost, source: Path) -> None:
    """A job that writes into its folder does not change the other one's."""
    send(vm, source)
    assert send(vm, source, "other") == []
    (vm.home / "stratus/jobs/other/big").write_bytes(b"changed")
    (vm.home / "stratus/jobs/other/run.py").write_bytes(b"changed")

    assert contents(vm.home / "stratus/jobs/job") == contents(source)


def test_data_that_a_run_in_progress_reads_is_not_replaced(vm: ScriptHost, source: Path) -> None:
    run = vm.home / "stratus/runs/20261120-141203-k3x"
    (run / "state").mkdir(parents=True)
    (run / "job.json").write_text('{"start": ["jobs/job", "job", "venv", "data/job/1=data"]}')
    (run / "state/main.pid").write_text(str(os.getpid()))

    def install(path: str) -> tuple[int, list[str]]:
        upload = scan(path.replace("/", "."), source, path)
        status, lines = vm.install([["data", "parcel.sh", upload.name, upload.digest, upload.remote_path]], upload)
        return status, [line for line in lines if not line.startswith("@@want")]

    assert install("data/job/1")[0] == install("data/job/11")[0] == install("jobs/job")[0] == 0
    (source / "run.py").write_text("new")
    status, lines = install("data/job/1")
    assert (status, states(lines)) == (1, ["data failed"])
    assert f"the data has changed, but {run.name}, which goes on, reads the data on this VM" in lines
    assert (vm.home / "stratus/data/job/1/run.py").read_bytes() == b"print(1)\n"
    assert install("data/job/11")[0] == install("jobs/job")[0] == 0

    (run / "state/main.rc").write_text("0\n")
    assert install("data/job/1")[0] == 0
    assert (vm.home / "stratus/data/job/1/run.py").read_text() == "new"


def test_a_folder_of_an_earlier_version_is_used_as_it_is(vm: ScriptHost, source: Path) -> None:
    """Without an index, files are compared by their content."""
    send(vm, source)
    (vm.home / "stratus/state/parcel-job.code.files").write_bytes(b"damaged\0" * 12)
    (source / "copy.py").write_text("print(2)\n")

    assert send(vm, source) == ["copy.py"]


def interrupt(vm: ScriptHost, upload: Upload, share: float) -> subprocess.CompletedProcess[bytes]:
    """Upload a folder over a connection that ends after a share of the bytes."""
    parcel = Parcel(upload, vm.home.parent)
    every_file = base64.b64encode(b"\xff" * (len(upload.files) // 8 + 1)).decode()
    frames = b"".join(frame for _, frame in parcel.frames(parcel.requested(every_file), REAL_CLOCK))
    files = {"plan": "".join(shlex.join(step) + "\n" for step in plan(upload)).encode()}
    bundle = remote_scripts.bundle(remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | files)
    return subprocess.run(
        ["sh", "-c", remote_scripts.bundle_command("install.sh")],
        input=bundle + parcel.listing + frames[: int(len(frames) * share)],
        env=vm.env,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_an_interrupted_upload_continues_where_it_ended(vm: ScriptHost, source: Path) -> None:
    """Complete files are not sent again, even after a second interruption; the old folder stays until then."""
    old = source.with_name("old")
    old.mkdir()
    (old / "old.py").write_text("old")
    send(vm, old)
    for number in range(4):
        (source / f"part{number}").write_bytes(os.urandom(1 << 20))
    upload = scan("job.code", source, "jobs/job")
    for share in (0.2, 0.5):
        cut = interrupt(vm, upload, share)
        assert cut.returncode == 1
        assert b"the upload was interrupted" in cut.stdout
        assert contents(vm.home / "stratus/jobs/job") == contents(old)

    left = send(vm, source)
    assert "part3" in left
    assert "big" not in left


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_file_that_an_interruption_spoiled_is_sent_again(vm: ScriptHost, source: Path, *, is_whole: bool) -> None:
    """It is not taken for complete by its name, nor by its size."""
    (source / "big").chmod(0o444)
    assert interrupt(vm, scan("job.code", source, "jobs/job"), 0.6).returncode == 1
    spoiled = vm.home / "stratus/jobs/job.new/big"
    assert 0 < spoiled.stat().st_size < (source / "big").stat().st_size
    # Whatever its mode will be, it can be written to its end.
    assert spoiled.stat().st_mode & 0o600 == 0o600
    if is_whole:
        spoiled.write_bytes(bytes((source / "big").stat().st_size))

    assert "big" in send(vm, source)
    assert (vm.home / "stratus/jobs/job/big").stat().st_mode & 0o700 == 0o400


def test_a_file_that_shrinks_while_it_is_sent_is_padded_and_sent_again_later(vm: ScriptHost, source: Path) -> None:
    """The host has the size from the list; its index has the digest of what arrived."""
    upload = scan("job.code", source, "jobs/job")
    (source / "text").write_bytes(b"short")
    (source / "copy.py").unlink()
    (source / "run.py").unlink()
    status, lines = vm.install(plan(upload), upload)
    folder = vm.home / "stratus/jobs/job"

    assert (status, states(lines)) == (0, ["code done"])
    assert (folder / "text").read_bytes() == b"short".ljust(2_700_000, b"\0")
    (source / "copy.py").write_text("print(1)\n")
    (source / "run.py").write_text("print(1)\n")
    assert send(vm, source) == ["copy.py", "run.py", "text"]


def test_a_vm_without_python_is_named_with_a_fix(vm: ScriptHost, source: Path, tmp_path: Path) -> None:
    upload = scan("job.code", source, "jobs/job")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "tar", "gzip", "cat", "date", "tee", "mkdir", "mktemp", "head", "rm", "sleep", "kill"):
        (tmp_path / "bin" / name).symlink_to(
            subprocess.check_output(["sh", "-c", f"command -v {name}"], text=True).strip()
        )
    script = ["sh", "-c", remote_scripts.bundle_command("install.sh")]
    files = {"plan": shlex.join(plan(upload)[0]).encode() + b"\n"}
    done = subprocess.run(
        script,
        input=remote_scripts.bundle(remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | files),
        env=vm.env | {"PATH": str(tmp_path / "bin")},
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 1
    assert b"no python3 on this VM, which uploads need" in done.stdout
    assert b"@@fix use an image that has it" in done.stdout


def test_requests_of_a_real_host_are_answered_once(vm: ScriptHost, source: Path) -> None:
    """A host that repeats a request gets nothing."""
    upload = scan("job.code", source, "jobs/job")
    requests = HostRequests(HOST, {upload.name: Parcel(upload, vm.home)}, {}, None, REAL_CLOCK, lambda event: None)
    assert requests.respond("@@want job.code")
    with pytest.raises(Exception, match="not part of the install"):
        requests.respond("@@want job.code")
