"""Steps of an install where the machine is not as it should be, run by a real sh; the tools they call are paper."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.hosts.usage import parse
from tests.support.paths import REMOTE
from tests.support.script_host import ScriptHost, states
from tests.support.shell_injection import POISONS
from tests.support.waiting import wait_until

SUDO = 'while case "$1" in -*) true ;; *) false ;; esac; do shift; done\nexec "$@"\n'
ENGINE = """case "$*" in
*version*) echo amd64 ;;
*info*) echo / ;;
"""
MIB = 1024


@dataclass(frozen=True)
class Paper(ScriptHost):
    """A machine whose tools are scripts of a test; what is not one is the real thing."""

    more: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return super().env | {"PATH": f"{self.home}/tools:{os.environ['PATH']}"} | self.more

    def tool(self, name: str, text: str) -> None:
        """Put a script first on PATH."""
        path = self.home / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)


@pytest.fixture
def vm(tmp_path: Path) -> Paper:
    """A machine where sudo works."""
    (tmp_path / "home").mkdir()
    made = Paper(tmp_path / "home")
    made.tool("sudo", SUDO)
    made.tool("cloud-init", "exit 0\n")
    return made


def fix(lines: list[str]) -> str:
    """What the step says to do."""
    return next((line.removeprefix("@@fix ") for line in lines if line.startswith("@@fix ")), "")


# -- apt


LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)"


def script(vm: Paper, name: str, *words: str, stdin: str = "") -> tuple[int, list[str]]:
    """Run one of the steps' scripts; how it ended and what was said."""
    bundle = vm.home / "bundle"
    shutil.copytree(REMOTE, bundle, dirs_exist_ok=True)
    env = vm.env | {"STRATUS_BUNDLE": str(bundle), "STRATUS_ROOT": str(vm.home / "stratus")}
    command = ["sh", str(bundle / "steps" / name), *words]
    done = subprocess.run(command, env=env, input=stdin, cwd=vm.home, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()


def test_whoever_holds_apts_lock_is_named_and_waited_for(vm: Paper) -> None:
    """Once told, not at every try; no lock is removed and nobody is ended for it."""
    tries = f'echo "$@" >>{vm.home}/calls\n[ "$(wc -l <{vm.home}/calls)" -gt 2 ]'
    vm.tool("apt-get", f'{tries} || {{ echo "{LOCKED}"; exit 100; }}\n')
    vm.tool("sleep", "exit 0\n")
    status, lines = script(vm, "apt.sh", "docker.io")
    calls = [call.split()[3:] for call in (vm.home / "calls").read_text().splitlines()]

    assert status == 0
    assert lines.count("@@say another apt runs here (unattended-upgr, pid 4711): waiting") == 1
    assert calls == [["update"]] * 3 + [["install", "docker.io"]]


def test_a_lock_that_is_never_given_back_ends_in_one_line(vm: Paper) -> None:
    vm.tool("apt-get", f'echo "{LOCKED}"\nexit 100\n')
    status, lines = script(Paper(vm.home, {"STRATUS_APT_PATIENCE": "1"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "another apt still runs here after 1 s (unattended-upgr, pid 4711)"
    assert fix(lines) == "InstallDeps() again when it is done"


def test_packages_that_do_not_fit_on_the_disk(vm: Paper) -> None:
    vm.tool("apt-get", "echo 'dpkg: error: cannot copy: No space left on device'\nexit 100\n")
    disk(vm, total=8000, free=3)
    status, lines = script(vm, "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "the disk is full: docker.io did not fit, 3 MB free of 8.4 GB"


def test_an_engine_cannot_be_had_without_sudo(vm: Paper) -> None:
    vm.tool("sudo", "exit 1\n")
    vm.tool("docker", "exit 1\n")
    _, lines = vm.install([["engine", "engine.sh"]])

    assert "no Docker engine here, and no sudo to install one" in lines
    assert fix(lines).startswith("set runtime = venv")


def test_an_engine_that_is_there_and_asleep_is_woken_and_nothing_installed(vm: Paper) -> None:
    vm.tool("docker", f"[ -e {vm.home}/awake ]\n")
    vm.tool("dockerd", "exit 0\n")
    vm.tool("usermod", f'echo "$@" >{vm.home}/joined\n')
    for tool in ("systemctl", "service"):
        vm.tool(tool, f"touch {vm.home}/awake\n")
    vm.tool("apt-get", "exit 1\n")
    status, lines = vm.install([["engine", "engine.sh"]])
    _, again = vm.install([["engine", "engine.sh"]])

    assert (status, states(lines), states(again)) == (0, ["engine done"], ["engine unchanged"])
    assert (vm.home / "joined").read_text().startswith("-aG docker ")


# -- the disk


def disk(vm: Paper, *, total: int, free: int) -> None:
    """Let the machine's disk look like this, MiB."""
    line = f"/dev/root {total * MIB} {(total - free) * MIB} {free * MIB} 90% /"
    vm.tool("df", f'echo "Filesystem 1024-blocks Used Available Capacity Mounted"\necho "{line}"\n')


def manifest(megabytes: int, architecture: str = "amd64") -> str:
    """What docker manifest inspect tells of an image with one layer."""
    return (
        f'{{"Ref": "x"\n"architecture": "{architecture}"\n"layers": [\n"size": {megabytes * 1_000_000},\n'
        '"digest": "sha256:0123456789abcdef"'
    )


def engine(vm: Paper, rest: str) -> None:
    """An engine without the image, and more answers of it."""
    vm.tool("docker", f"{ENGINE}*'image inspect'*) exit 1 ;;\n{rest}esac\n")


def test_an_image_that_will_not_fit_is_not_even_pulled(vm: Paper) -> None:
    """Two and a half times its compressed size: what was needed, what is free, and the size to set."""
    disk(vm, total=8000, free=3000)
    (vm.home / "manifest").write_text(manifest(4000))
    engine(vm, f"*manifest*) cat {vm.home}/manifest ;;\n*pull*) touch {vm.home}/pulled ;;\n")
    _, lines = vm.install([["image", "image.sh", "pull", "big/image:1", "", ""]])

    assert states(lines) == ["image failed"]
    assert "no room for big/image:1: 10.0 GB needed, 3.1 GB free on the disk of 8.4 GB" in lines
    assert fix(lines) == "set [disk] size = 16 (GiB) in the config, then TerminateAll() and LaunchInstances()"
    assert not (vm.home / "pulled").exists()


def test_an_image_whose_size_nobody_tells_needs_some_room_all_the_same(vm: Paper) -> None:
    disk(vm, total=8000, free=1000)
    engine(vm, "*manifest*) exit 1 ;;\n")
    _, lines = vm.install([["image", "image.sh", "pull", "image:1", "", ""]])

    assert "no room for image:1: 2.1 GB needed, 1.0 GB free on the disk of 8.4 GB" in lines


def test_a_disk_that_fills_up_during_a_pull(vm: Paper) -> None:
    disk(vm, total=20000, free=9000)
    engine(
        vm, "*manifest*) exit 1 ;;\n*pull*) echo 'write /var/lib/docker/tmp/x: no space left on device'; exit 1 ;;\n"
    )
    _, lines = vm.install([["image", "image.sh", "pull", "image:1", "", ""]])

    assert "the disk is full: image:1 did not fit, 9.4 GB free of 21.0 GB" in lines
    assert fix(lines).startswith("set [disk] size = 41 (GiB)")


def test_a_disk_that_fills_up_under_pip(vm: Paper) -> None:
    disk(vm, total=8000, free=2)
    venv = vm.home / "stratus/venvs/job/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'\nexit 1\n")
    (venv / "python").chmod(0o755)
    plan = [["requirements", "requirements.sh", "job", "d1", "requirements.txt"]]
    _, lines = vm.install(plan, **{"requirements.txt": b"torch\n"})

    assert "the disk is full: the packages of the job did not fit, 2 MB free of 8.4 GB" in lines
    assert fix(lines).startswith("set [disk] size = 17 (GiB)")


# -- what registries say, in the engine's own words


@pytest.mark.parametrize(
    ("said", "line"),
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
def test_what_an_engine_says_becomes_one_line(vm: Paper, said: str, line: str) -> None:
    """A limit and silence are tried three times, all else is told at once."""
    (vm.home / "said").write_text(f"{said}\n")
    vm.tool("sleep", "exit 0\n")
    vm.tool("timeout", "exit 1\n")
    disk(vm, total=80000, free=70000)
    engine(vm, f"*pull*) echo x >>{vm.home}/tries; cat {vm.home}/said; exit 1 ;;\n")
    status, lines = vm.install([["image", "image.sh", "pull", "me/job:1", "", ""]])
    words = [text for text in lines if text and not text.startswith("@@")]

    assert (status, states(lines)) == (1, ["image failed"])
    assert words[-1].startswith(line)
    assert fix(lines)
    tries = 3 if "limit" in said or "no such host" in said else 1
    assert (vm.home / "tries").read_text().count("x") == tries


def test_an_image_of_another_architecture_is_known_before_the_pull(vm: Paper) -> None:
    disk(vm, total=80000, free=70000)
    (vm.home / "manifest").write_text(manifest(10, "arm64"))
    engine(vm, f"*manifest*) cat {vm.home}/manifest ;;\n*pull*) touch {vm.home}/pulled ;;\n")
    _, lines = vm.install([["image", "image.sh", "pull", "me/job:1", "", ""]])

    assert "me/job:1 has no image for this VM's architecture, amd64" in lines
    assert not (vm.home / "pulled").exists()


# -- GPUs (no real one was at hand: nvidia-smi is paper, its lines are those that NVIDIA documents)


def with_gpu(vm: Paper) -> Paper:
    """A machine with an NVIDIA card on its bus."""
    card = vm.home / "pci/0000:00:1e.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    return Paper(vm.home, {"STRATUS_PCI": str(vm.home / "pci")})


def test_a_machine_without_a_gpu_is_asked_nothing(vm: Paper) -> None:
    vm.tool("nvidia-smi", f"touch {vm.home}/asked; exit 1\n")
    (vm.home / "pci").mkdir()
    _, lines = Paper(vm.home, {"STRATUS_PCI": str(vm.home / "pci")}).install([["gpu", "gpu.sh"]])

    assert states(lines) == ["gpu unchanged"]
    assert not (vm.home / "asked").exists()


def test_a_gpu_without_a_driver_or_without_the_toolkit(vm: Paper) -> None:
    """Each is one line, and the fix names an image that has both."""
    there = with_gpu(vm)
    there.tool("nvidia-smi", "exit 9\n")
    _, no_driver = there.install([["gpu", "gpu.sh"]])
    there.tool("nvidia-smi", "exit 0\n")
    for tool in ("nvidia-ctk", "nvidia-container-cli"):
        there.tool(tool, "exit 1\n")
    _, no_toolkit = there.install([["gpu", "gpu.sh"]])
    there.tool("nvidia-ctk", "echo NVIDIA Container Toolkit CLI version 1.17.8\n")
    _, well = there.install([["gpu", "gpu.sh"]])

    assert "there is an NVIDIA GPU here, and no driver that works: nvidia-smi does not run" in no_driver
    assert "there is an NVIDIA GPU here, and no NVIDIA container toolkit: containers cannot use it" in no_toolkit
    assert "[cluster] image = deep-learning-ubuntu-24.04" in fix(no_driver)
    assert states(well) == ["gpu unchanged"]


SAID = """\
@@gpu 0, GPU-aa, NVIDIA H200, 97, 100123, 143771, 61
@@gpu 1, GPU-bb, NVIDIA H200, [N/A], 0, 143771, [Not Supported]
@@app r1, 42, GPU-aa, 99000, python
@@app -, 43, GPU-aa, [N/A], /opt/other, with a comma
@@host 16 3.25 1000000 400000
@@task 42 r1  99.5 204800 python train.py --steps 3
"""


def test_what_a_machine_says_of_itself_becomes_a_record() -> None:
    found = parse("ml-0", SAID)

    assert (found.cores, found.load_average, found.memory_total_bytes, found.memory_used_bytes) == (
        16,
        3.25,
        1_024_000_000,
        614_400_000,
    )
    first, second = found.gpus
    assert (first.name, first.utilization_percent, first.memory_used_mib, first.celsius) == (
        "NVIDIA H200",
        97,
        100123,
        61,
    )
    assert [(task.run_id, task.pid, task.gpu_memory_mib) for task in first.processes] == [
        ("r1", 42, 99000),
        ("", 43, None),
    ]
    assert first.processes[1].command == "/opt/other, with a comma"
    assert (second.utilization_percent, second.celsius, second.processes) == (None, None, ())
    (task,) = found.processes
    assert (task.run_id, task.cpu_percent, task.memory_bytes, task.command) == (
        "r1",
        99.5,
        209_715_200,
        "python train.py --steps 3",
    )


def test_the_script_reads_what_nvidia_smi_prints(vm: Paper) -> None:
    """Also when nobody computes."""
    vm.tool(
        "nvidia-smi",
        'case "$*" in *query-gpu*) echo "0, GPU-aa, NVIDIA A10G, 12, 300, 23028, 41" ;; *compute-apps*) true ;; esac\n',
    )
    from orchestrator.core import remote_scripts

    found = parse("ml-0", vm.run(remote_scripts.inline_command("gpus.sh")))

    assert [(gpu.name, gpu.utilization_percent, gpu.processes) for gpu in found.gpus] == [("NVIDIA A10G", 12, ())]
    assert found.cores > 0
    assert 0 < found.memory_used_bytes < found.memory_total_bytes


@pytest.mark.parametrize("how", ["answered", "cut off", "ended"])
def test_the_file_of_a_login_goes_however_the_step_ends(vm: Paper, how: str) -> None:
    """With the pull, with the connection, with a signal."""
    seen = vm.home / "seen"
    vm.tool("mktemp", f'folder=$({shutil.which("mktemp")} "$@") && echo "$folder" >>{seen} && echo "$folder"\n')
    engine(vm, "*login*) cat >/dev/null; exit 0 ;;\n*pull*) exit 1 ;;\n")
    disk(vm, total=80000, free=70000)
    bundle = shutil.copytree(REMOTE, vm.home / "bundle")
    env = vm.env | {"STRATUS_BUNDLE": str(bundle), "STRATUS_ROOT": str(vm.home / "stratus")}
    words = ["sh", str(bundle / "steps/image.sh"), "apply", "pull", "r.io/x", "r.io", "me"]
    with subprocess.Popen(words, env=env, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin
        assert process.stdout
        wait_until(lambda: seen.exists() and seen.read_text().endswith("\n"))
        (folder,) = map(Path, seen.read_text().splitlines())
        assert folder.stat().st_mode & 0o077 == 0
        if how == "answered":
            process.stdin.write("3\nabc")
        if how == "ended":
            process.terminate()
        process.stdin.close()
        assert process.wait(30) != 0

    assert not folder.exists()


def test_no_image_step_executes_what_it_is_told(vm: Paper) -> None:
    """Names of images, registries, users and folders; and what the engine says of them."""
    engine(vm, f"*) cat {vm.home}/said; exit 1 ;;\n")
    vm.tool("sleep", "exit 0\n")
    for poison in (text.format(trap="owned") for text in POISONS):
        (vm.home / "said").write_text(poison)
        script(vm, "image.sh", "apply", "pull", f"r.io/{poison}", poison, poison, stdin="3\nabc")
        script(vm, "image.sh", "apply", "build", poison, "", "", poison)

    assert not list(vm.home.parent.rglob("owned*"))
