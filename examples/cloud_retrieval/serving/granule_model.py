"""Predictions for one granule by the model that the granules job has saved.

A request is an archive (.zip or .tar) of the granule's two files, VNP02MOD and VNP03MOD, which may be larger than a
real-time endpoint takes: asynchronous ones take 1 GB. A pickle executes code when it is read: load files of your own
runs only.
"""

from __future__ import annotations

import io
import lzma
import pickle
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from granules import file_names, forest_model, l2_product, viirs
from granules.forest_model import CloudModel
from numpy.typing import NDArray
from retrieval.scenes import SceneError

MAX_BYTES = 4 << 30
# RuntimeError: it is encrypted; NotImplementedError: compressed in an unknown way; OSError: neither gzip nor bzip2.
UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError)
EXPECTED = "send an archive of the two files of a granule, V*02MOD.A*.nc and V*03MOD.A*.nc"


def load(folder: Path) -> CloudModel:
    """Return the model that a run has written to its output folder."""
    model = pickle.loads((folder / forest_model.FILE).read_bytes())
    if not isinstance(model, CloudModel):
        raise SceneError(f"{folder / forest_model.FILE}: not a model of this job")
    return model


def predict(model: CloudModel, archive: Any) -> dict[str, NDArray[Any]]:
    """Return the planes of a granule's product, each (lines, pixels), with the bits that the job computes.

    :raises SceneError: it is no archive of a granule.
    """
    if not isinstance(archive, bytes | bytearray):
        raise SceneError(EXPECTED)
    with tempfile.TemporaryDirectory() as name:
        paths = unpack(archive, Path(name))
        if set(paths) != {"2", "3"}:
            raise SceneError(EXPECTED)
        with viirs.open_granule(paths["2"], paths["3"], label="granule") as granule:
            lines, step = granule.shape[0], l2_product.LINES_AT_ONCE
            # A few scans at a time: the features of a whole granule take gigabytes.
            blocks = [
                l2_product.block_planes(granule, model, (first, min(first + step, lines)))
                for first in range(0, lines, step)
            ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def unpack(archive: bytes | bytearray, folder: Path) -> dict[str, Path]:
    """Write the granule's files of an archive to a folder; return them by the digit in their names, 2 or 3."""
    paths = {}
    try:
        for name, content in members(archive):
            if parsed := file_names.SWATH_NAME.fullmatch(file_names.base_name(name)):
                paths[parsed[2]] = folder / f"{parsed[2]}.nc"
                paths[parsed[2]].write_bytes(content)
    except UNREADABLE as error:
        # tarfile's messages have several lines.
        raise SceneError(EXPECTED) from error
    return paths


def members(archive: bytes | bytearray) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files in an archive."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            check_size(sum(member.file_size for member in opened.infolist()))
            yield from ((member.filename, opened.read(member)) for member in opened.infolist())
        return
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = [member for member in tar if member.isfile()]
        check_size(sum(member.size for member in files))
        yield from ((member.name, content.read()) for member in files if (content := tar.extractfile(member)))


def check_size(size: int) -> None:
    """Raise SceneError if an archive has more than ``MAX_BYTES``."""
    if size > MAX_BYTES:
        raise SceneError(f"the archive has {size >> 30} GiB")
