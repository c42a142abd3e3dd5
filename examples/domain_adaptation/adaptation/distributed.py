"""Communication between the ranks of a training: one interface, three backends.

A rank's loss is its share of the mean over the global batch (the sum over its own images, divided by the number of
images of all ranks). Gradients are therefore *summed* over ranks: the sum is the gradient of the mean, also if ranks
hold unequal numbers of images, and it does not depend on the number of ranks.

A loss that is not a sum over images (CORAL, MMD) is computed by every rank over the rows of all ranks, from
:meth:`Communicator.gather_rows`: gradient flows into a rank's own rows only, unscaled. Every rank computes the same
    loss, so its own rows get the true gradient, and the sum over ranks of the resulting parameter gradients is exact.
    Libraries differ here (Horovod's ``allgather`` averages in its backward pass, PyTorch's functional one sums), so
    neither backward pass is used.

Both backends reduce one flat buffer of gradients per step, so the result does not depend on how a backend groups
tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

BACKENDS = ("none", "horovod", "ddp")
#: Raised by the backends when another rank is lost.
RANK_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ConnectionError)


class Communicator:
    """A single process; base class of the other backends."""

    backend = "none"

    @property
    def rank(self) -> int:
        """Index of this process among all."""
        return 0

    @property
    def size(self) -> int:
        """Number of processes."""
        return 1

    @property
    def local_rank(self) -> int:
        """Index of this process on its host; also the index of its GPU."""
        return 0

    @property
    def local_size(self) -> int:
        """Number of processes on this host."""
        return 1

    def sum(self, values: Tensor, _name: str) -> Tensor:
        """Return the element-wise sum over ranks, the same bits on each; no gradient."""
        return values

    def begin_sum(self, values: Tensor, name: str) -> Callable[[], Tensor]:
        """Begin :meth:`sum`; return a function that waits for its result."""
        total = self.sum(values, name)
        return lambda: total

    def gather(self, rows: Tensor, _counts: Sequence[int], _name: str) -> Tensor:
        """Return the rows of all ranks, in order of rank; ``counts``: rows of each rank. No gradient."""
        return rows

    def broadcast(self, values: Tensor, _name: str) -> Tensor:
        """Return rank 0's values (same shape and type on all ranks)."""
        return values

    def barrier(self) -> None:
        """Wait until all ranks arrive."""

    def close(self) -> None:
        """Leave the group."""

    def gather_rows(self, rows: Tensor, counts: Sequence[int], name: str) -> Tensor:
        """Return the rows of all ranks, with the true gradient into this rank's own rows.

        :param rows: (n, features); n is ``counts[rank]``.
        :return: (sum of counts, features), in order of rank.
        """
        if self.size == 1:
            return rows
        gathered = self.gather(rows.detach(), counts, name)
        start = sum(counts[: self.rank])
        return torch.cat([gathered[:start], rows, gathered[start + len(rows) :]])

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace each gradient by its sum over ranks; parameters without a gradient count as zero."""
        if self.size == 1:
            return
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trainable:
            if parameter.grad is None:
                # All ranks must send buffers of the same size.
                parameter.grad = torch.zeros_like(parameter)
        flat = self.sum(torch.cat([parameter.grad.reshape(-1) for parameter in trainable]), "gradients")
        for parameter, gradient in zip(
            trainable, flat.split([parameter.numel() for parameter in trainable]), strict=True
        ):
            parameter.grad.copy_(gradient.view_as(parameter))

    def broadcast_bytes(self, content: bytes) -> bytes:
        """Return rank 0's bytes."""
        if self.size == 1:
            return content
        # Both backends broadcast tensors of known shape only, so the length goes first.
        length = self.broadcast(torch.tensor([len(content)]), "length")
        if int(length) == 0:
            return b""
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return bytes(self.broadcast(buffer, "bytes").numpy())

    def all_agree(self, digest: str) -> bool:
        """Return True if all ranks hold the same hexadecimal digest."""
        own = torch.frombuffer(bytearray(bytes.fromhex(digest)), dtype=torch.uint8)[None]
        return bool((self.gather(own, [1] * self.size, "digests") == own).all())


class HorovodRanks(Communicator):
    """Ranks started by ``horovodrun``. Rank and size are queried on each use, because an elastic run changes them."""

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

    # Operations are named explicitly: Horovod numbers unnamed ones, and in an elastic run a rank that joins later would
    # start from zero and not match the others.

    def sum(self, values: Tensor, name: str) -> Tensor:
        """See :class:`Comm`."""
        return self._hvd.allreduce(values, op=self._hvd.Sum, name=f"sum.{name}")

    def begin_sum(self, values: Tensor, name: str) -> Callable[[], Tensor]:
        """See :class:`Communicator`."""
        handle = self._hvd.allreduce_async(values, op=self._hvd.Sum, name=f"sum.{name}")
        return lambda: self._hvd.synchronize(handle)

    def gather(self, rows: Tensor, _counts: Sequence[int], name: str) -> Tensor:
        """See :class:`Communicator`; Horovod exchanges the counts itself."""
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
    """Ranks started by ``torchrun``: NCCL between GPUs, Gloo between CPUs (and for CPU tensors)."""

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

    def begin_sum(self, values: Tensor, _name: str) -> Callable[[], Tensor]:
        """See :class:`Communicator`."""
        total = values.detach().clone()
        work = self._dist.all_reduce(total, async_op=True)

        def wait() -> Tensor:
            work.wait()
            return total

        return wait

    def gather(self, rows: Tensor, counts: Sequence[int], _name: str) -> Tensor:
        """See :class:`Communicator`; rows are padded to equal counts, which Gloo and NCCL require."""
        own = rows.new_zeros((max(counts), *rows.shape[1:]))
        own[: len(rows)] = rows
        parts = [torch.empty_like(own) for _ in counts]
        self._dist.all_gather(parts, own)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast(self, values: Tensor, _name: str) -> Tensor:
        """See :class:`Communicator`."""
        copy = values.detach().clone()
        self._dist.broadcast(copy, src=0)
        return copy

    def barrier(self) -> None:
        """See :class:`Comm`."""
        self._dist.barrier()

    def close(self) -> None:
        """See :class:`Comm`."""
        self._dist.destroy_process_group()


def detect_launcher() -> str:
    """Return the backend that this process was started for, from the environment variables of its launcher."""
    if "HOROVOD_RANK" in os.environ or "HOROVOD_ELASTIC" in os.environ:
        return "horovod"
    return "ddp" if "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE"} <= os.environ.keys() else "none"


def connect(dist: str, *, cuda: bool) -> Communicator:
    """Join the other ranks.

    :param dist: name of a backend, or ``auto``: as launched.
    :param cuda: True if tensors will be on GPUs.
    :raises ImportError: if Horovod is requested and not installed for PyTorch.
    """
    backend = detect_launcher() if dist == "auto" else dist
    if backend == "horovod":
        return HorovodRanks()
    return TorchRanks(cuda=cuda) if backend == "ddp" else Communicator()
