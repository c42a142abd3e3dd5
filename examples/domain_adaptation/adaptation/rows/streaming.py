"""Images that do not fit into memory: decoded by threads shortly before they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from adaptation import image_folders

if TYPE_CHECKING:
    from torch import Tensor


class StreamedImages:
    """Images of one domain, indexed by a tensor like those held in memory.

    Threads, because Pillow releases the GIL while it decodes and scales; processes that were forked could not use the
    GPU or Horovod's connections of their parent.

    :param workers: number of threads.
    """

    def __init__(self, paths: Sequence[Path], size: int, *, keep_aspect: bool, device: Any, workers: int) -> None:
        self._paths, self._size, self._keep_aspect = paths, size, keep_aspect
        self.device = device
        self._pool = ThreadPoolExecutor(workers)
        self._pending: dict[int, Future[NDArray[np.uint8]]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def prefetch(self, indices: Tensor) -> None:
        """Begin to decode images that will be needed soon."""
        for index in indices.tolist():
            if index not in self._pending:
                self._pending[index] = self._pool.submit(
                    image_folders.read_image, self._paths[index], self._size, keep_aspect=self._keep_aspect
                )

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Return images as bytes on the device, (n, 3, size, size).

        :raises image_folders.DataError: if a file is not an image.
        """
        self.prefetch(indices)
        images = {index: self._pending.pop(index).result() for index in set(indices.tolist())}
        batch = torch.from_numpy(np.stack([images[index] for index in indices.tolist()]))
        if self.device.type != "cuda":
            return batch.to(self.device)
        # Only page-locked memory is copied while the GPU computes.
        return batch.pin_memory().to(self.device, non_blocking=True)
