"""What the ranks of a training run say to each other: one small interface, three ways to talk.

A rank's loss is its share of the mean over the global batch (the sum over its own images, divided by the number of
images of all ranks). So gradients are *summed* over ranks; the sum is the gradient of the mean, also where ranks hold
unequal numbers of images, and it does not depend on the number of ranks.

A loss that is no sum over images (CORAL, MMD) is computed by every rank over the rows of all ranks, from
:meth:`Comm.gather_rows`: gradient flows into a rank's own rows only, unscaled. Every rank computes the same loss, so
its own rows get the true gradient, and the sum over ranks of what follows is exact. Libraries differ here (Horovod's
``allgather`` averages in its backward pass, PyTorch's functional one sums); neither backward pass is used.

Both backends move one flat buffer of gradients per step, so a run's result does not depend on how a backend cuts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

BACKENDS = ("none", "horovod", "ddp")
#: What a backend raises when another rank is gone.
RANK_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ConnectionError)


class Communicator:
    """One process alone; also what the others have in common."""

    backend = "none"

    @property
    def rank(self) -> int:
        """This process among all."""
        return 0

    @property
    def size(self) -> int:
        """Processes in all."""
        return 1

    @property
    def local_rank(self) -> int:
        """This process among those on its host; the number of its GPU."""
        return 0

    @property
    def local_size(self) -> int:
        """Processes on this host."""
        return 1

    def sum(self, values: Tensor, _name: str) -> Tensor:
        """The element-wise sum over ranks, the same bits on each; no gradient."""
        return values

    def gather(self, rows: Tensor, _counts: Sequence[int], _name: str) -> Tensor:
        """All ranks' rows, rank after rank; ``counts`` says how many each has. No gradient."""
        return rows

    def broadcast(self, values: Tensor, _name: str) -> Tensor:
        """Rank 0's values (same shape and type everywhere)."""
        return values

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def close(self) -> None:
        """Leave."""

    def gather_rows(self, rows: Tensor, counts: Sequence[int], name: str) -> Tensor:
        """All ranks' rows with the true gradient into this rank's own.

        :param rows: (n, features); n is ``counts[rank]``.
        :return: (sum of counts, features), rank after rank.
        """
        if self.size == 1:
            return rows
        everyone = self.gather(rows.detach(), counts, name)
        start = sum(counts[: self.rank])
        return torch.cat([everyone[:start], rows, everyone[start + len(rows) :]])

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace each gradient by its sum over ranks; parameters that took no part count as zero."""
        if self.size == 1:
            return
        held = [value for value in parameters if value.requires_grad]
        for value in held:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        flat = self.sum(torch.cat([value.grad.reshape(-1) for value in held]), "gradients")
        for value, part in zip(held, flat.split([value.numel() for value in held]), strict=True):
            value.grad.copy_(part.view_as(value))

    def broadcast_bytes(self, content: bytes) -> bytes:
        """Rank 0's bytes."""
        if self.size == 1:
            return content
        length = self.broadcast(torch.tensor([len(content)]), "length")
        if int(length) == 0:
            return b""
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return bytes(self.broadcast(buffer, "bytes").numpy())

    def all_agree(self, digest: str) -> bool:
        """Whether all ranks hold the same hexadecimal digest."""
        own = torch.frombuffer(bytearray(bytes.fromhex(digest)), dtype=torch.uint8)[None]
        return bool((self.gather(own, [1] * self.size, "digests") == own).all())


class HorovodRanks(Communicator):
    """Ranks started by ``horovodrun``. Rank and size are asked for each time: an elastic run changes them."""

    backend = "horovod"

    def __init__(self) -> None:
        import horovod.torch as hvd

        self._hvd = hvd
        hvd.init()

    @property
    def rank(self) -> int:
        """See :class:`Comm`."""
        return int(self._hvd.rank())

    @property
    def size(self) -> int:
        """See :class:`Comm`."""
        return int(self._hvd.size())

    @property
    def local_rank(self) -> int:
        """See :class:`Comm`."""
        return int(self._hvd.local_rank())

    @property
    def local_size(self) -> int:
        """See :class:`Comm`."""
        return int(self._hvd.local_size())

    # Operations carry names: in an elastic run a newcomer's automatic ones would count from zero.

    def sum(self, values: Tensor, name: str) -> Tensor:
        """See :class:`Comm`."""
        return self._hvd.allreduce(values, op=self._hvd.Sum, name=f"sum.{name}")

    def gather(self, rows: Tensor, _counts: Sequence[int], name: str) -> Tensor:
        """See :class:`Comm`; Horovod learns the counts by itself."""
        return self._hvd.allgather(rows, name=f"gather.{name}")

    def broadcast(self, values: Tensor, name: str) -> Tensor:
        """See :class:`Comm`."""
        return self._hvd.broadcast(values, root_rank=0, name=f"broadcast.{name}")

    def barrier(self) -> None:
        """See :class:`Comm`."""
        self._hvd.barrier()

    def close(self) -> None:
        """See :class:`Comm`."""
        self._hvd.shutdown()


class TorchRanks(Communicator):
    """Ranks started by ``torchrun``: NCCL between GPUs, Gloo between CPUs (and for what lives on the CPU)."""

    backend = "ddp"

    def __init__(self, *, cuda: bool) -> None:
        import torch.distributed as dist

        self._dist = dist
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")

    @property
    def rank(self) -> int:
        """See :class:`Comm`."""
        return int(self._dist.get_rank())

    @property
    def size(self) -> int:
        """See :class:`Comm`."""
        return int(self._dist.get_world_size())

    @property
    def local_rank(self) -> int:
        """See :class:`Comm`."""
        return int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def local_size(self) -> int:
        """See :class:`Comm`."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    def sum(self, values: Tensor, _name: str) -> Tensor:
        """See :class:`Comm`."""
        total = values.detach().clone()
        self._dist.all_reduce(total)
        return total

    def gather(self, rows: Tensor, counts: Sequence[int], _name: str) -> Tensor:
        """See :class:`Comm`; rows are filled up to equal numbers for the way, as Gloo and NCCL want it."""
        own = rows.new_zeros((max(counts), *rows.shape[1:]))
        own[: len(rows)] = rows
        parts = [torch.empty_like(own) for _ in counts]
        self._dist.all_gather(parts, own)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast(self, values: Tensor, _name: str) -> Tensor:
        """See :class:`Comm`."""
        held = values.detach().clone()
        self._dist.broadcast(held, src=0)
        return held

    def barrier(self) -> None:
        """See :class:`Comm`."""
        self._dist.barrier()

    def close(self) -> None:
        """See :class:`Comm`."""
        self._dist.destroy_process_group()


def detect_launcher() -> str:
    """The backend that this process was started for, by its launcher's variables."""
    if "HOROVOD_RANK" in os.environ or "HOROVOD_ELASTIC" in os.environ:
        return "horovod"
    return "ddp" if "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE"} <= os.environ.keys() else "none"


def connect(dist: str, *, cuda: bool) -> Communicator:
    """Join the other ranks.

    :param dist: a backend's name, or ``auto``: as launched.
    :param cuda: tensors will be on GPUs.
    :raises ImportError: Horovod is asked for and not installed for PyTorch.
    """
    backend = detect_launcher() if dist == "auto" else dist
    if backend == "horovod":
        return HorovodRanks()
    return TorchRanks(cuda=cuda) if backend == "ddp" else Communicator()
