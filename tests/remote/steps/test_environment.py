"""Steps before the requirements: packages of the system, a conda environment, commands of the job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.host_tools import HostWithTools, fix_of, host
from tests.support.script_host import ScriptHost, states

__all__ = ["host"]

PYTHON = ["python", "python.sh", "job", sys.executable, "yes"]
# Takes the options that micromamba and conda have in common, and makes an environment that looks like theirs.
PROGRAM = f"""#!/bin/sh
echo "called: $*" >>"$HOME/calls"
while [ $# -gt 0 ]; do
    case $1 in --prefix) prefix=$2 ;; --file) file=$2 ;; esac
    shift
done
grep -q broken "$file" && {{ echo "error    libmamba Could not solve for environment specs"; exit 1; }}
{sys.executable} -m venv --without-pip "$prefix"
mkdir -p "$prefix/conda-meta" "$prefix/etc/conda/activate.d"
echo 'export FROM_ACTIVATION="a [[ b"' >"$prefix/etc/conda/activate.d/a.sh"
"""


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    """A home folder, with a job's code."""
    (tmp_path / "home/stratus/jobs/job").mkdir(parents=True)
    return ScriptHost(tmp_path / "home")


def setup(vm: ScriptHost, text: str, digest: str = "1") -> list[str]:
    """Install a job with setup commands; return all lines."""
    plan = [PYTHON, ["setup", "setup.sh", "job", digest, "setup", "jobs/job"]]
    return vm.install(plan, None, setup=text.encode())[1]


def test_setup_runs_once_per_text_in_the_jobs_folder_and_environment(vm: ScriptHost) -> None:
    text = "pwd >>$HOME/calls\ncommand -v python >>$HOME/calls\nread answer || echo no input >>$HOME/calls\n"
    first, second = setup(vm, text), setup(vm, text)
    changed = setup(vm, text, "2")

    assert states(first) == ["python done", "setup done"]
    assert states(second) == ["python unchanged", "setup unchanged"]
    assert states(changed) == ["python unchanged", "setup done"]
    root = vm.home / "stratus"
    once = [str(root / "jobs/job"), str(root / "venvs/job/bin/python"), "no input"]
    assert (vm.home / "calls").read_text().splitlines() == once * 2


def test_setup_ends_at_the_first_command_that_fails_and_is_tried_again(vm: ScriptHost) -> None:
    text = '[ -e "$HOME/fixed" ] || { echo out of luck; false; }\ntouch $HOME/after\n'
    lines = setup(vm, text)

    assert states(lines) == ["python done", "setup failed"]
    assert "out of luck" in lines
    assert "@@fix correct setup in job.ini, then InstallDeps() again" in lines
    assert not (vm.home / "after").exists()
    (vm.home / "fixed").touch()
    assert states(setup(vm, text)) == ["python unchanged", "setup done"]


def conda(vm: ScriptHost, source: str, text: bytes = b"name: x\n") -> list[str]:
    """Install a job with a conda environment; return all lines."""
    return vm.install(
        [["conda", "conda.sh", "job", str(len(text)), "environment.yml", source]], None, **{"environment.yml": text}
    )[1]


def test_a_conda_environment_is_created_by_the_named_program(vm: ScriptHost) -> None:
    """It takes the place of the job's virtual environment; variables of its packages are set in tasks."""
    program = vm.home / "micromamba"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    first, second = conda(vm, str(program)), conda(vm, str(program))

    assert (states(first), states(second)) == (["conda done"], ["conda unchanged"])
    prefix = vm.home / "stratus/venvs/job"
    (call,) = (vm.home / "calls").read_text().splitlines()
    assert call.startswith(f"called: create --yes --prefix {prefix} --file ")
    vm.start("r1", main='echo "$FROM_ACTIVATION"; command -v python')
    assert vm.follow("r1")[:2] == ["a [[ b", str(prefix / "bin/python")]


def test_a_conda_environment_that_cannot_be_solved_is_one_line(vm: ScriptHost) -> None:
    program = vm.home / "conda"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    lines = conda(vm, str(program), b"broken\n")

    assert states(lines) == ["conda failed"]
    assert lines[-2] == "error    libmamba Could not solve for environment specs"
    assert (vm.home / "calls").read_text().startswith("called: env create --quiet --prefix ")


def test_a_conda_program_that_is_missing_is_named(vm: ScriptHost) -> None:
    lines = conda(vm, "no-such-program")

    assert states(lines) == ["conda failed"]
    assert "no no-such-program on this VM, and the job has a conda environment" in lines
    assert any(line.startswith("@@fix set [install] conda: ") for line in lines)


def test_packages_of_the_system_are_installed_once(host: HostWithTools) -> None:
    """Those that are there need neither apt nor sudo."""
    installed = host.home / "installed"
    installed.write_text("dash\n")
    host.tool("dpkg-query", f'grep -qx "$3" {installed} && echo installed\n')
    host.tool("apt-get", f'[ "$4" = update ] || {{ shift 4; printf "%s\\n" "$@" >>{installed}; }}\n')
    there = host.install([["packages", "packages.sh", "job", "dash"]])[1]
    first = host.install([["packages", "packages.sh", "job", "dash", "openmpi-bin"]])[1]
    second = host.install([["packages", "packages.sh", "job", "dash", "openmpi-bin"]])[1]

    assert (states(there), states(first), states(second)) == (
        ["packages unchanged"],
        ["packages done"],
        ["packages unchanged"],
    )


def test_packages_that_cannot_be_installed_without_sudo_are_one_line(host: HostWithTools) -> None:
    host.tool("dpkg-query", "exit 1\n")
    host.tool("sudo", "exit 1\n")
    lines = host.install([["packages", "packages.sh", "job", "openmpi-bin"]])[1]

    assert states(lines) == ["packages failed"]
    assert "not installed here: openmpi-bin; and no sudo to install them" in lines
    assert fix_of(lines).startswith("remove apt_packages from job.ini")
