"""image.sh: space, registries, logins."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.host_tools import HostWithTools, fake_disk, fake_engine, fix_of, host, image_manifest, run_step
from tests.support.paths import REMOTE
from tests.support.script_host import states
from tests.support.shell_injection import POISONS

__all__ = ["host"]


def test_an_image_that_does_not_fit_is_not_pulled(host: HostWithTools) -> None:
    """Two and a half times its compressed size: the space needed, the space free, and the size to set."""
    fake_disk(host, total=8000, free=3000)
    (host.home / "manifest").write_text(image_manifest(4000))
    fake_engine(host, f"*manifest*) cat {host.home}/manifest ;;\n*pull*) touch {host.home}/pulled ;;\n")
    _, lines = host.install([["image", "image.sh", "pull", "big/image:1", "", ""]])

    assert states(lines) == ["image failed"]
    assert "no room for big/image:1: 10.0 GB needed, 3.1 GB free on the disk of 8.4 GB" in lines
    assert fix_of(lines) == "set [disk] size = 16 (GiB) in the config, then TerminateAll() and LaunchInstances()"
    assert not (host.home / "pulled").exists()


def test_an_image_of_unknown_size_needs_a_minimum_of_space(host: HostWithTools) -> None:
    fake_disk(host, total=8000, free=1000)
    fake_engine(host, "*manifest*) exit 1 ;;\n")
    _, lines = host.install([["image", "image.sh", "pull", "image:1", "", ""]])

    assert "no room for image:1: 2.1 GB needed, 1.0 GB free on the disk of 8.4 GB" in lines


def test_the_containerd_image_store_needs_the_space_on_the_disk_of_containerd(host: HostWithTools) -> None:
    """https://docs.docker.com/engine/storage/containerd: the default of new installations from Docker 29 on."""
    store = host.home / "containerd"
    store.mkdir()
    host.tool(
        "df",
        f'echo x; case "$*" in *{store}) echo /dev/b 9000000 8000000 1000000 90% / ;; *) echo / 9 1 9000000 ;; esac\n',
    )
    fake_engine(host, "*manifest*) exit 1 ;;\n")
    docker = (host.home / "tools/docker").read_text()
    status = '*DriverStatus*) echo "[[driver-type io.containerd.snapshotter.v1]]" ;;'
    host.tool("docker", docker.replace("in\n", f"in\n{status}\n", 1))
    login = HostWithTools(host.home, {"STRATUS_CONTAINERD": str(store)})
    _, lines = login.install([["image", "image.sh", "pull", "image:1", "", ""]])

    assert "no room for image:1: 2.1 GB needed, 1.0 GB free on the disk of 9.2 GB" in lines


@pytest.mark.parametrize("step", ["Step 2/5 : RUN pip install x", "#7 [2/5] RUN pip install x", "#7 [job 2/5] RUN pip"])
def test_the_steps_of_either_builder_are_progress(host: HostWithTools, step: str) -> None:
    (host.home / "stratus/jobs/job").mkdir(parents=True)
    fake_disk(host, total=20000, free=9000)
    fake_engine(host, f"*build*) echo '#1 [internal] load build definition'; echo '{step}'; exit 1 ;;\n")
    _, lines = host.install([["image", "image.sh", "build", "image:1", "", "", "jobs/job"]])

    assert [line for line in lines if line.startswith("@@say")] == ["@@say " + step.removeprefix("#7 ")]


def test_a_disk_that_fills_up_during_a_pull(host: HostWithTools) -> None:
    fake_disk(host, total=20000, free=9000)
    fake_engine(
        host, "*manifest*) exit 1 ;;\n*pull*) echo 'write /var/lib/docker/tmp/x: no space left on device'; exit 1 ;;\n"
    )
    _, lines = host.install([["image", "image.sh", "pull", "image:1", "", ""]])

    assert "the disk is full: image:1 did not fit, 9.4 GB free of 21.0 GB" in lines
    assert fix_of(lines).startswith("set [disk] size = 41 (GiB)")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("toomanyrequests: You have reached your pull rate limit.", "docker.io: pull limit reached"),
        (
            "Error: pull access denied for me/job, repository does not exist or may require 'docker login': denied",
            "docker.io requires a login for me/job:1, or has no such image (denied)",
        ),
        ("manifest for me/job:1 not found: manifest unknown: manifest unknown", "the registry docker.io has no me/job"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "me/job:1 has no image for this VM"),
        (
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            "the registry docker.io does not respond to this VM",
        ),
        ('Get "https://r/v2/": x509: certificate signed by unknown authority', "docker.io has a certificate that this"),
        ('Get "https://r/v2/": http: server gave HTTP response to HTTPS client', "docker.io serves plain http"),
        ("filesystem layer verification failed for digest sha256:1", "data of me/job:1 from docker.io does not match"),
    ],
)
def test_an_error_of_the_engine_becomes_one_line(host: HostWithTools, message: str, line: str) -> None:
    """Rate limits and missing answers are retried three times, all else is reported at once."""
    (host.home / "message").write_text(f"{message}\n")
    host.tool("sleep", "exit 0\n")
    host.tool("timeout", "exit 1\n")
    fake_disk(host, total=80000, free=70000)
    fake_engine(host, f"*pull*) echo x >>{host.home}/tries; cat {host.home}/message; exit 1 ;;\n")
    status, lines = host.install([["image", "image.sh", "pull", "me/job:1", "", ""]])
    plain_lines = [text for text in lines if text and not text.startswith("@@")]

    assert (status, states(lines)) == (1, ["image failed"])
    assert plain_lines[-1].startswith(line)
    assert fix_of(lines)
    tries = 3 if "limit" in message or "no such host" in message else 1
    assert (host.home / "tries").read_text().count("x") == tries


def test_an_image_of_another_architecture_is_reported_before_the_pull(host: HostWithTools) -> None:
    fake_disk(host, total=80000, free=70000)
    (host.home / "manifest").write_text(image_manifest(10, "arm64"))
    fake_engine(host, f"*manifest*) cat {host.home}/manifest ;;\n*pull*) touch {host.home}/pulled ;;\n")
    _, lines = host.install([["image", "image.sh", "pull", "me/job:1", "", ""]])

    assert "me/job:1 has no image for this VM's architecture, amd64" in lines
    assert not (host.home / "pulled").exists()


@pytest.mark.parametrize("ending", ["answered", "cut off", "ended"])
def test_the_file_of_a_login_is_removed_however_the_step_ends(host: HostWithTools, ending: str) -> None:
    """After the pull, a lost connection, a signal."""
    seen = host.home / "seen"
    host.tool("mktemp", f'folder=$({shutil.which("mktemp")} "$@") && echo "$folder" >>{seen} && echo "$folder"\n')
    fake_engine(host, "*login*) cat >/dev/null; exit 0 ;;\n*pull*) exit 1 ;;\n")
    fake_disk(host, total=80000, free=70000)
    bundle = shutil.copytree(REMOTE, host.home / "bundle")
    env = host.env | {"STRATUS_BUNDLE": str(bundle), "STRATUS_ROOT": str(host.home / "stratus")}
    command = ["sh", str(bundle / "steps/image.sh"), "apply", "pull", "r.io/x", "r.io", "me"]
    with subprocess.Popen(command, env=env, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin
        assert process.stdout
        # The request follows the traps, so from here on every ending removes the folder.
        assert any("@@want login" in line for line in process.stdout)
        (folder,) = map(Path, seen.read_text().splitlines())
        assert folder.stat().st_mode & 0o077 == 0
        if ending == "answered":
            process.stdin.write("3\nabc")
        if ending == "ended":
            process.terminate()
        process.stdin.close()
        assert process.wait(30) != 0

    assert not folder.exists()


@pytest.mark.parametrize("tool", ["mktemp", "mkdir"])
def test_a_signal_right_after_the_folder_of_a_login_was_made_leaves_nothing(host: HostWithTools, tool: str) -> None:
    """Whichever tool makes it: there is no moment in which the folder exists without a trap that removes it."""
    log = host.home / "created"
    real = f'output=$({shutil.which(tool)} "$@") || exit 1\necho "$output"\nset -- "$@" "$output"\n'
    remember = f'for path in "$@"; do [ -d "$path" ] && echo "$path" >>{log}; done\n'
    host.tool(tool, f"{real}case $* in *stratus-login*) {remember} kill -TERM $PPID ;; esac\nexit 0\n")
    fake_engine(host, "*login*) cat >/dev/null; exit 0 ;;\n*pull*) exit 1 ;;\n")
    fake_disk(host, total=80000, free=70000)
    run_step(host, "image.sh", "apply", "pull", "r.io/x", "r.io", "me", stdin="3\nabc")

    folders = [Path(line) for line in log.read_text().splitlines()] if log.exists() else []
    assert [folder for folder in folders if folder.exists()] == []
    assert tool == "mktemp" or folders


@pytest.mark.slow
def test_no_image_step_executes_its_arguments(host: HostWithTools) -> None:
    """Names of images, registries, users and folders, and messages of the engine."""
    fake_engine(host, f"*) cat {host.home}/message; exit 1 ;;\n")
    host.tool("sleep", "exit 0\n")
    for poison in (text.format(trap="owned") for text in POISONS):
        (host.home / "message").write_text(poison)
        run_step(host, "image.sh", "apply", "pull", f"r.io/{poison}", poison, poison, stdin="3\nabc")
        run_step(host, "image.sh", "apply", "build", poison, "", "", poison)

    assert not list(host.home.parent.rglob("owned*"))
