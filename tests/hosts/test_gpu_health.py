"""Health of GPUs: what nvidia-smi and the kernel's log say, and the replacement of a VM with a bad one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.core.host import Host
from orchestrator.hosts.gpu_health import findings
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

GOOD = "@@gpu 0, 0\n@@gpu 1, [N/A], NVIDIA T4\n"
LOST = "Unable to determine the device handle for GPU0000:00:1E.0: Unknown Error"
LOG = "[ 9.1] NVRM: Xid (PCI:0000:00:1e): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
PROGRAM_LOG = "[ 9.2] NVRM: Xid (PCI:0000:00:1e): 31, pid=912, name=python, Ch 00000008, MMU Fault"


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (GOOD, ""),
        ("", ""),
        ("@@no-driver\n", ""),
        ("@@gpu 0, 0\n", "nvidia-smi lists 1 of 2"),
        ("@@gpu 0, 0\n@@gpu 1, 3\n", "GPU 1 has 3 uncorrected memory errors (ECC)"),
        (GOOD + "@@xid 79 0000:00:1e\n", "Xid 79 of GPU 0000:00:1e: fallen off the bus"),
        (GOOD + "@@xid 31 0000:00:1e\n", ""),  # of a program
        ("@@broken " + LOST, LOST),
        ("@@broken \x1b]0;owned\x07" + "x" * 999, "?]0;owned?" + "x" * 110),
        ("@@gpu 0, 0; reboot\n@@xid 79 $(reboot)\n@@xid 99999999 a\n", ""),
    ],
)
def test_what_a_host_reports_is_a_finding_or_nothing(output: str, problem: str) -> None:
    assert next(findings(output, 2), "") == problem


@pytest.mark.parametrize(
    ("nvidia_smi", "output"),
    [
        ("printf '0, 0\\n1, [N/A], NVIDIA T4\\n'", GOOD + "@@xid 31 0000:00:1e\n@@xid 79 0000:00:1e\n"),
        (f"echo '{LOST}'; exit 15", f"@@broken {LOST}\n@@xid 31 0000:00:1e\n@@xid 79 0000:00:1e\n"),
    ],
)
def test_the_script_reads_nvidia_smi_and_the_log(tmp_path: Path, nvidia_smi: str, output: str) -> None:
    for name, body in (
        ("nvidia-smi", nvidia_smi),
        ("sudo", f'echo "{LOG}"\necho "{PROGRAM_LOG}"\necho "{LOG}"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    command = remote_scripts.inline_command("gpu_check.sh")
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)

    assert answer.stdout == output


@pytest.mark.parametrize("bad_count", [1, 2])
def test_a_vm_with_a_bad_gpu_is_named_and_replaced_once(
    simulate: Callable[..., SimulatedProject], bad_count: int
) -> None:
    project = simulate(cluster="instance_type = g4dn.xlarge")
    bad: list[str] = []

    def stdout(host: Host, command: str) -> str:
        if "@@xid" not in command:
            return ""
        if host.name == "ml-1" and host.identity not in bad and len(bad) < bad_count:
            bad.append(host.identity)
        return "@@gpu 0, 7\n" if host.identity in bad else "@@gpu 0, 0\n"

    project.stdout = stdout
    session = project.session()
    report = session.cluster.launch(session.cluster.plan(2))

    finding = "ml-1: bad GPU: GPU 0 has 7 uncorrected memory errors (ECC)"
    assert next(event.text for event in project.events if event.phase == "replace") == finding
    # The first bad one is gone; a second one stays for a look.
    assert project.our_states == ["running", "running"]
    assert [str(error).splitlines()[0] for error in report.failed.values()] == [finding] * (bad_count - 1)


def test_types_without_gpus_are_not_looked_at(simulate: Callable[..., SimulatedProject]) -> None:
    commands: list[str] = []
    project = simulate()
    project.stdout = lambda host, command: commands.append(command) or ""  # type: ignore[func-returns-value]
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))

    assert not any("@@xid" in command for command in commands)
