"""An all-reduce over all GPUs of a cluster; run by torchrun on the VMs.   nccl.py SECONDS [gloo]

The first process prints "@@reduce NCCL BYTES ROUNDS SECONDS PROCESSES". With ``gloo`` it does the same on CPUs.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

TIMEOUT = timedelta(seconds=60)
BYTES = {"nccl": 256 << 20, "gloo": 4 << 20}
WARM_UP = 3


def timed(tensor: torch.Tensor, rounds: int) -> float:
    """Return the seconds that some all-reduces take."""
    dist.barrier()
    began = time.monotonic()
    for _ in range(rounds):
        dist.all_reduce(tensor)
        # The same values in every round, so that they can be checked, and never overflow.
        tensor.div_(dist.get_world_size())
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.monotonic() - began


def main(seconds: float, backend: str = "nccl") -> int:
    """Measure for some seconds; return the exit status."""
    import os

    dist.init_process_group(backend, timeout=TIMEOUT)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    tensor = torch.full((BYTES[backend] // 4,), float(dist.get_rank() + 1), device=device)
    timed(tensor, 1)
    each_s = timed(tensor, WARM_UP) / WARM_UP
    rounds = torch.tensor([max(1, int(seconds / max(each_s, 1e-6)))], device=device)
    # One process decides: all must do the same number.
    dist.broadcast(rounds, 0)
    count = int(rounds.item())
    taken_s = timed(tensor, count)
    expected = (dist.get_world_size() + 1) / 2
    is_right = bool(torch.allclose(tensor, torch.full_like(tensor, expected)))
    if dist.get_rank() == 0:
        print(f"@@reduce {backend.upper()} {BYTES[backend]} {count} {taken_s:.6f} {dist.get_world_size()}", flush=True)
    if not is_right:
        print(f"@@broken {os.environ.get('STRATUS_HOST', '?')} has wrong sums of an all-reduce over GPUs", flush=True)
    dist.destroy_process_group()
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *sys.argv[2:3]))
