"""Hostile values in every command line: none is executed, and each arrives unchanged.

The values are special to a shell, alone and mixed with anything else that hypothesis generates. Every command is run by
a real shell in a folder of its own; an executed value would create a file there.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.config.settings import load
from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConfigError, StratusError, UsageError
from orchestrator.core.host import Host
from orchestrator.install.steps import Step
from orchestrator.jobs import build, runner, tasks
from orchestrator.jobs import spec as jobs_spec
from orchestrator.ssh import command_line, quote
from tests.support.paths import PACKAGE, REMOTE
from tests.support.shell_injection import POISONS, TRAP

hostile = st.one_of(
    st.sampled_from(POISONS).map(lambda text: text.format(trap=TRAP)),
    st.lists(st.sampled_from(POISONS), min_size=1, max_size=4).map(lambda some: "".join(some).format(trap=TRAP)),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
)
arguments = st.lists(hostile, min_size=1, max_size=4)
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQK7VvS3dEHi6BfkqMtDSFGMpv4c1nJKNoPpHZqkpZ1"
HOST = Host("ml-0", "192.0.2.7", "10.0.0.7", 22, "ubuntu", Path("/keys/k"), KEY, "i-0abc")


@dataclass(frozen=True)
class Vm:
    """A folder in which commands run as SSH would run them."""

    home: Path

    def run(self, command: str, *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run a command to its end and return its output; fail if a hostile value was executed."""
        before = self.content()
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.home,
            input=stdin,
            capture_output=True,
            timeout=30,
            check=False,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **(env or {})},
        )
        created = {path for path in self.content() - before if TRAP in path}
        assert not created, f"{command!r} was executed: {created}"
        return done.stdout

    def content(self) -> set[str]:
        """Return the paths of all files beside and below."""
        return {str(path) for path in self.home.parent.rglob("*")}


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    home = tmp_path / "a" / "home"
    home.mkdir(parents=True)
    return Vm(home)


@quick
@given(arguments)
def test_words_that_are_quoted_arrive_as_they_are(vm: Vm, values: list[str]) -> None:
    """Byte for byte, however many there are."""
    output = vm.run(quote("printf", r"%s\0", *values))
    assert output.rstrip(b"\0") == b"\0".join(value.encode() for value in values).rstrip(b"\0")


def test_a_nul_is_refused() -> None:
    """No argument of a command can hold one."""
    with pytest.raises(UsageError, match="NUL"):
        quote("a\0b")


# Arguments of each script; {} stands for a value of the user, the rest are modes and numbers.
SCRIPTS = {
    "log.sh": ("{}", "{}", "0"),
    "runs.sh": ("{}",),
    "follow.sh": ("{}", "{}", "0"),
    "cancel.sh": ("{}", "all"),
    "rotate.sh": ("stage", "{}"),
    "spot.sh": ("{}", "{}"),
    "checkpoints.sh": ("{}", "{}", "{}"),
    "extend.sh": ("{}", "{}", "{}"),
    "gpus.sh": ("{}",),
    "give.sh": ("{}",),
    "admit.sh": ("{}", "{}", "{}"),
    "python.sh": ("-c", "pass", "{}"),
    "end_main.sh": ("{}", "{}"),
    "limit.sh": ("{}", "{}"),
    "notify.sh": ("{}", "{}"),
    "results.sh": ("{}",),
    "tunnel_use.sh": ("{}",),
    "tensorboard.sh": ("start", "{}", "0", "{}", "{}"),
}
ELSEWHERE = {
    "bake.sh": "called with fixed words, hexadecimal ids and a number",
    "alive.sh": "called by Horovod, without arguments",
    "serve.sh": "called by SageMaker, without arguments",
    "container.sh": "called by task.sh with names that start.sh chose",
    "dask_main.sh": "called by a task with fixed arguments",
    **dict.fromkeys(("horovod.sh", "mpi.sh", "torchrun.sh", "mxnet_main.sh"), "called with the run's folder alone"),
    **dict.fromkeys(
        ("mesh_env.sh", "mesh_up.sh", "mesh_host.sh", "mesh_main.sh", "mesh_guard.sh", "rank.sh"),
        "called with the run's folder alone",
    ),
    "mesh_ssh.sh": "called by a launcher; test_mesh.py covers its arguments",
    "expire.sh": "takes numbers, from extend.sh",
    "idle.sh": "takes a number, from expire.sh",
    # Run as root, it would change /etc/fstab of this computer.
    "disks.sh": "called with names, sources and paths that the config has checked; tests/remote/test_disks.py",
    "gpu_check.sh": "takes no arguments",
    "install.sh": "below, with its plan",
    "jupyter.sh": "called with an address, a number and the name of a job, which is checked where the job is read",
    "killall.sh": "takes no arguments of the user",
    "run.sh": "takes the arguments of start.sh, and passes them on",
    "start.sh": "below",
    "task.sh": "called by start.sh",
    "unpack.sh": "below, with all that travels in a bundle",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_on_a_vm_executes_its_arguments(script: str, vm: Vm) -> None:
    """Every argument of every script, with every hostile value."""
    for poison in (text.format(trap=TRAP) for text in POISONS):
        args = [arg.format(poison) for arg in SCRIPTS[script]]
        vm.run(remote_scripts.inline_command(script, *args), env={"PATH": "/usr/bin:/bin"})


def test_every_script_is_covered() -> None:
    """A new script gets a line in one of the two tables."""
    names = {path.name for path in REMOTE.glob("*.sh")}
    assert names == SCRIPTS.keys() | ELSEWHERE.keys()


SHOW = b"""#!/bin/sh
[ "$1" = check ] && [ -e "$HOME/seen" ] && exit 0
[ "$1" = apply ] || exit 1
shift
printf "%s\\0" "$@" >"$HOME/seen"
"""


@settings(quick, max_examples=40)
@given(arguments)
def test_a_steps_words_arrive_in_the_step(vm: Vm, values: list[str]) -> None:
    """Through the plan, which a shell reads line by line."""
    seen = vm.home / "seen"
    seen.unlink(missing_ok=True)
    tools = remote_scripts.scripts(("install.sh",)) | {"steps/show.sh": SHOW}
    try:
        line = Step("show", "show.sh", tuple(values)).plan_line + "\n"
    except UsageError:
        assert any("\n" in value for value in values)
        return
    vm.run(remote_scripts.bundle_command("install.sh"), stdin=remote_scripts.bundle(tools | {"plan": line.encode()}))
    assert seen.read_bytes() == b"".join(value.encode() + b"\0" for value in values)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> jobs_spec.JobSpec:
    """The plainest job."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "job.ini").write_text("[job]\nsingle = true\nruntime = docker\nimage = busybox\n")
    return jobs_spec.load(folder, {})


@settings(quick, max_examples=60)
@given(hostile, hostile)
def test_a_jobs_variables_arrive_in_its_environment(vm: Vm, spec: jobs_spec.JobSpec, first: str, second: str) -> None:
    """Through the file that the task's shell sources."""
    task = tasks.Task("ml-0", "main", "true", {"ONE": first, "TWO": second})
    files = runner.own_files(build.JobPlan("r", spec, False, (task,), {}), [task])
    (vm.home / "task.env").write_bytes(files["task/main.env"])
    output = vm.run('set -a; . ./task.env; set +a; printf "%s\\0" "$ONE" "$TWO"')
    assert output == first.encode() + b"\0" + second.encode() + b"\0"


@settings(quick, max_examples=25)
@given(hostile)
def test_a_run_is_laid_out_under_any_name(vm: Vm, name: str) -> None:
    """Run, code, environment and data of whatever names: either they are folders, or nothing happens."""
    (vm.home / "stratus").mkdir(exist_ok=True)
    parts = {"run/job.json": b"{}", "run/task/main.cmd": b"true", **remote_scripts.scripts(("start.sh",))}
    tools = remote_scripts.scripts(remote_scripts.RUN_SCRIPTS, folder="run/bin/")
    command = remote_scripts.bundle_command("start.sh", name, name, name, "venv", f"{name}={name}")
    vm.run(command, stdin=remote_scripts.bundle(parts | tools))


def written_out(address: str) -> str:
    """Return an address as ssh writes it: 0 is 0.0.0.0."""
    try:
        return str(socket.getaddrinfo(address, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, ValueError):
        return address


@quick
@given(st.sampled_from(["name", "user", "address", "key_file", "identity", "host_key"]), hostile)
@example("user", "x -oProxyCommand=id")
@example("address", "0")
@example("key_file", "%d/\n  ProxyCommand id")
def test_plain_ssh_gets_a_value_unchanged_or_not_at_all(tmp_path: Path, field: str, value: str) -> None:
    """According to ssh's own parsed configuration."""
    given_value: Any = Path("/" + value) if field == "key_file" else value
    try:
        argv = command_line(replace(HOST, **{field: given_value}), tmp_path / "ssh", REAL_CLOCK)
    except UsageError:
        return
    config = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, timeout=20, check=True).stdout
    options = dict(line.split(" ", 1) for line in config.split("\n") if " " in line)

    assert "proxycommand" not in options
    assert options["stricthostkeychecking"] in ("true", "yes")
    expected = {"user": "user", "address": "hostname", "identity": "hostkeyalias"}.get(field)
    if expected:
        assert options[expected].lower() in ((value or HOST.name).lower(), written_out(value))
    if field == "key_file":
        assert options["identityfile"].strip('"').replace("%%", "%") == str(given_value)


@quick
@given(hostile)
def test_values_of_a_config_file_are_never_executed(vm: Vm, value: str) -> None:
    """The original project was open to it: your_key_path = x; touch f #."""
    lines = ["[summary]", "your_key_path = {}", "your_key_name = {}"]
    lines += ["[install]", "pip_options = {}", "[cluster]", "owner = {}"]
    path = vm.home / "config.ini"
    path.write_text("\n".join(lines).replace("{}", value), encoding="utf-8")
    before = vm.content()
    try:
        loaded = load(path, {"HOME": str(vm.home)})
        Step("requirements", "requirements.sh", tuple(shlex.split(loaded.install.pip_options))).plan_line  # noqa: B018
        command_line(replace(HOST, key_file=Path(loaded.ssh.private_key)), vm.home / "ssh", REAL_CLOCK)
    except (ConfigError, StratusError, ValueError):
        pass
    assert not [path for path in vm.content() - before if TRAP in Path(path).name]


def test_no_script_weakens_permissions_of_a_host() -> None:
    """Docker's socket keeps its mode, containers get no privileges, and nothing becomes world-writable."""
    remote = REMOTE
    scripts = {
        path.name: path.read_text(encoding="utf-8") for kind in ("sh", "py") for path in remote.rglob(f"*.{kind}")
    }
    assert scripts.keys() >= {"container.sh", "engine.sh", "mesh.py"}
    wide = r"--privileged|--cap-add|docker\.sock|chmod (-R )?[0-7]*[2367]\b|chmod \S*o\+w|umask 0?00\b|NOPASSWD"
    assert {name for name, text in scripts.items() if re.search(wide, text)} == set()


def test_no_code_passes_arguments_to_a_local_shell() -> None:
    """argv lists only."""
    package, shells = (
        PACKAGE,
        r"shell\s*=\s*True|os\.(system|popen)|getoutput|process_shell",
    )
    assert [path for path in package.rglob("*.py") if re.search(shells, path.read_text(encoding="utf-8"))] == []
