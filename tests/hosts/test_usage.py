"""Usage of hosts, from the output of gpus.sh."""

from __future__ import annotations

from orchestrator.core import remote_scripts
from orchestrator.hosts.usage import parse
from tests.support.host_tools import HostWithTools, host

__all__ = ["host"]

OUTPUT = """\
@@gpu 0, GPU-aa, NVIDIA H200, 97, 100123, 143771, 61
@@gpu 1, GPU-bb, NVIDIA H200, [N/A], 0, 143771, [Not Supported]
@@app r1, 42, GPU-aa, 99000, python
@@app -, 43, GPU-aa, [N/A], /opt/other, with a comma
@@host 16 3.25 1000000 400000
@@task 42 r1  99.5 204800 python train.py --steps 3
"""


def test_the_output_of_the_script_becomes_a_record() -> None:
    usage = parse("ml-0", OUTPUT)

    assert (usage.cores, usage.load_average, usage.memory_total_bytes, usage.memory_used_bytes) == (
        16,
        3.25,
        1_024_000_000,
        614_400_000,
    )
    first, second = usage.gpus
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
    (task,) = usage.processes
    assert (task.run_id, task.cpu_percent, task.memory_bytes, task.command) == (
        "r1",
        99.5,
        209_715_200,
        "python train.py --steps 3",
    )


def test_the_script_reads_the_output_of_nvidia_smi(host: HostWithTools) -> None:
    """Also without any process that computes."""
    host.tool(
        "nvidia-smi",
        'case "$*" in *query-gpu*) echo "0, GPU-aa, NVIDIA A10G, 12, 300, 23028, 41" ;; *compute-apps*) true ;; esac\n',
    )
    usage = parse("ml-0", host.run(remote_scripts.inline_command("gpus.sh")))

    assert [(gpu.name, gpu.utilization_percent, gpu.processes) for gpu in usage.gpus] == [("NVIDIA A10G", 12, ())]
    assert usage.cores > 0
    assert 0 < usage.memory_used_bytes < usage.memory_total_bytes
