"""torchrun, PyTorch's own launcher: one agent on every host, which meet at the first host's private address.

https://docs.pytorch.org/docs/stable/elastic/run.html; static rendezvous, as the hosts are known.
"""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.frameworks.registry import Framework, Need, TaskPlan
from orchestrator.jobs.tasks import JobLayout

LAUNCHER = 'sh "$STRATUS_FOLDER/bin/torchrun.sh" "$STRATUS_FOLDER"'


def plan_one_host(layout: JobLayout) -> TaskPlan:
    """Return torchrun over the slots of the first host."""
    return [layout.task(layout.head, "main", LAUNCHER)], layout.command_file


def plan_all_hosts(layout: JobLayout) -> TaskPlan:
    """Return torchrun on every host; each is a main task, as each of them sees only its own processes fail."""
    rendezvous = {"MASTER_ADDR": layout.head.private_address, "MASTER_PORT": str(layout.port)}
    tasks = [layout.task(host, "main", LAUNCHER, rendezvous) for host in layout.hosts]
    return mesh.add_guard(layout, tasks, layout.command_file)


TORCH = Need(
    "torch",
    ("torch", "torchvision", "torchaudio", "torchmetrics", "lightning", "pytorch-lightning", "accelerate", "timm"),
    "add a line  torch  to requirements.txt, or  system_packages = yes  to job.ini where the VM's image has it",
)

FRAMEWORK = Framework(
    "torchrun",
    multi=plan_all_hosts,
    single=plan_one_host,
    scripts=(*mesh.GUARD_SCRIPTS, "torchrun.sh"),
    needs=(TORCH,),
)
