"""HDF4 files of synthetic data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Datasets = Mapping[str, NDArray[Any]]


def write(path: Path, datasets: Datasets, *, comment: str) -> None:
    """Write a file that is marked as synthetic; an existing one is replaced."""
    from pyhdf.SD import SD, SDC

    # HDF4 would add datasets to an existing file instead of replacing it.
    path.unlink(missing_ok=True)
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    file.attr("synthetic").set(SDC.INT32, 1)
    file.attr("comment").set(SDC.CHAR, comment)
    create_datasets(file, datasets)
    file.end()


def append(path: Path, datasets: Datasets) -> None:
    """Add datasets to a file."""
    from pyhdf.SD import SD, SDC

    file = SD(str(path), SDC.WRITE)
    create_datasets(file, datasets)
    file.end()


def create_datasets(file: Any, datasets: Datasets) -> None:
    """Create datasets in an open file."""
    from pyhdf.SD import SDC

    kinds = {"f4": SDC.FLOAT32, "f8": SDC.FLOAT64, "i1": SDC.INT8, "u1": SDC.UINT8, "u2": SDC.UINT16, "i4": SDC.INT32}
    for name, values in datasets.items():
        dataset = file.create(name, kinds[values.dtype.str[1:]], values.shape)
        dataset[:] = values
        dataset.endaccess()
