"""One door to the netCDF and HDF4 libraries.

Neither C library bears two threads at once, and Dask runs tasks in threads of one process: everything that
touches a file of theirs holds :data:`FILES`.
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
# Bytes of chunks that are kept of each variable: a few scans of a plane. The library's own 16 MB, for some thirty
# planes, would be most of what a worker needs.
CHUNK_CACHE_BYTES = 4 << 20


@contextmanager
def open_netcdf(path: Path, label: str) -> Iterator[Any]:
    """An open NetCDF file that leaves scale, offset and fill values to us.

    :param label: how errors name the file.
    :raises SceneError: when it cannot be opened.
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


@contextmanager
def open_hdf4(path: Path, label: str) -> Iterator[Any]:
    """An open HDF4 file of scientific data sets; the library is held for as long as it is open.

    :raises SceneError: when it cannot be opened.
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


def read_values(plane: Any, where: Any, label: str) -> NDArray[Any]:
    """Part of a variable, as it is stored.

    :param where: an index.
    :raises SceneError: when it cannot be unpacked: a damaged file can be opened, and breaks here.
    """
    with LIBRARY_LOCK:
        try:
            return np.asarray(plane[where])
        except (RuntimeError, OSError) as error:
            raise SceneError(f"{label}: {plane.name} cannot be read; damaged? ({error})") from error


def get_variable(file: Any, name: str, label: str) -> Any:
    """A variable of a NetCDF file by its path.

    :raises SceneError: when there is none.
    """
    try:
        return file[name]
    except (IndexError, KeyError) as error:
        raise SceneError(f"{label}: no dataset {name}") from error
