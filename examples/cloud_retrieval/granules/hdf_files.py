"""Serialized access to the netCDF and HDF4 libraries.

Neither C library is thread-safe, and Dask runs tasks in threads of one process: every access to such a file holds
:data:`LIBRARY_LOCK`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval.scenes import SceneError

LIBRARY_LOCK = threading.RLock()
# Chunk cache per variable: a few scans of a plane. The library's default of 16 MB, for some thirty planes, would
# dominate the memory of a worker.
CHUNK_CACHE_BYTES = 4 << 20


@contextmanager
def open_netcdf(path: Path, label: str) -> Iterator[Any]:
    """Open a NetCDF file without automatic scaling and masking.

    :param label: name of the file in error messages.
    :raises SceneError: if it cannot be opened.
    """
    import netCDF4

    try:
        with LIBRARY_LOCK:
            netCDF4.set_chunk_cache(CHUNK_CACHE_BYTES)
            file = netCDF4.Dataset(path, "r")
            file.set_auto_maskandscale(False)
    except OSError as error:
        raise SceneError(f"{label}: not a readable NetCDF file ({error.strerror or error})") from error
    try:
        yield file
    finally:
        with LIBRARY_LOCK:
            file.close()


def check_netcdf(path: Path, *, label: str) -> None:
    """Check that a NetCDF file can be opened.

    :raises SceneError: if it does not exist or cannot be opened.
    """
    if not path.is_file():
        raise SceneError(f"{label}: no such file")
    with open_netcdf(path, label):
        pass


@contextmanager
def open_hdf4(path: Path, label: str) -> Iterator[Any]:
    """Open an HDF4 file of scientific data sets; the lock is held for as long as the file is open.

    :raises SceneError: if it cannot be opened.
    """
    from pyhdf.error import HDF4Error
    from pyhdf.SD import SD, SDC

    with LIBRARY_LOCK:
        try:
            file = SD(str(path), SDC.READ)
        except HDF4Error as error:
            raise SceneError(f"{label}: not a readable HDF4 file ({error})") from error
        try:
            yield file
        finally:
            file.end()


def read_values(plane: Any, index: Any, label: str) -> NDArray[Any]:
    """Return part of a variable, as stored.

    :param index: as for NumPy arrays.
    :raises SceneError: if it cannot be decompressed: damaged files can be opened and fail here.
    """
    with LIBRARY_LOCK:
        try:
            return np.asarray(plane[index])
        except (RuntimeError, OSError) as error:
            raise SceneError(f"{label}: {plane.name} cannot be read; damaged? ({error})") from error


def get_variable(file: Any, name: str, label: str) -> Any:
    """Return a variable of a NetCDF file by its path.

    :raises SceneError: if it does not exist.
    """
    try:
        return file[name]
    except (IndexError, KeyError) as error:
        raise SceneError(f"{label}: no dataset {name}") from error
