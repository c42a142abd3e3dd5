"""Settings for speed, safe on CPUs: memory format, TF32, compilation, sums of gradients during the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.distributed import Communicator
    from adaptation.options import Options

#: Bytes of gradients that are summed in one message: DistributedDataParallel's default.
BUCKET_BYTES = 25 * 2**20


def prepare_network(net: Any, options: Options, device: Any) -> Any:
    """Return a network on a device with the options for speed; names and bits of its weights stay."""
    net = net.to(device)
    if options.channels_last:
        net = net.to(memory_format=torch.channels_last)
    if options.tf32 and device.type == "cuda":
        # On CPUs the same setting would compute in bfloat16 where oneDNN can.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    if options.compile:
        for name in {"features", "target_features"} & set(net):
            compile_forward(net[name])
    return net


def compile_forward(module: Any) -> None:
    """Compile a module in place, as a wrapper would change the names in its state dict."""

    def forward(rows: Tensor) -> Tensor:
        # A function of this file: torch.compile skips calls that begin in PyTorch's own containers.
        return type(module).forward(module, rows)

    module.forward = torch.compile(forward)


class GradientBuckets:
    """Sums of gradients over ranks that begin while the backward pass goes on, bucket by bucket.

    Buckets are sent in a fixed order, the last layers first: all ranks must send the same sequence of messages.

    :param parameters: in the order of the network; those without gradients are left out.
    """

    def __init__(self, parameters: Iterable[Any], bucket_bytes: int = BUCKET_BYTES) -> None:
        self._buckets: list[list[Any]] = [[]]
        size_bytes = 0
        for parameter in reversed([value for value in parameters if value.requires_grad]):
            if size_bytes >= bucket_bytes:
                self._buckets.append([])
                size_bytes = 0
            self._buckets[-1].append(parameter)
            size_bytes += parameter.numel() * parameter.element_size()
            parameter.register_post_accumulate_grad_hook(self._note)
        self._comm: Communicator | None = None
        self._missing: list[set[Any]] = []
        self._sums: list[Callable[[], Tensor]] = []

    def begin(self, comm: Communicator) -> None:
        """Sum gradients in the next backward pass, the last one of the iteration."""
        self._comm = comm if comm.size > 1 else None
        self._missing = [set(bucket) for bucket in self._buckets]
        self._sums = []

    def finish(self) -> None:
        """Wait until all gradients are summed; parameters without a gradient count as zero."""
        if self._comm is None:
            return
        while len(self._sums) < len(self._buckets):
            self._send(self._comm)
        for bucket, wait in zip(self._buckets, self._sums, strict=True):
            parts = wait().split([parameter.numel() for parameter in bucket])
            for parameter, gradient in zip(bucket, parts, strict=True):
                parameter.grad.copy_(gradient.view_as(parameter))
        self._comm = None

    def _note(self, parameter: Any) -> None:
        """Note a gradient that is complete; send the buckets that are."""
        if self._comm is None:
            return
        for missing in self._missing:
            missing.discard(parameter)
        while len(self._sums) < len(self._buckets) and not self._missing[len(self._sums)]:
            self._send(self._comm)

    def _send(self, comm: Communicator) -> None:
        """Begin to sum the next bucket."""
        number = len(self._sums)
        for parameter in self._buckets[number]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in self._buckets[number]])
        self._sums.append(comm.begin_sum(flat, f"gradients.{number}"))
