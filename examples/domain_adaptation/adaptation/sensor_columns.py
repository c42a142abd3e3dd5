"""Columns that two sensors saw, one ``.npz`` per granule: who may see what of them.

A file holds one array per name: the lidar's 25 features (``CALIOP_...``), the radiometer's 20 (``VIIRS_...``), and the
label, 1 to 6, 0 where there is none. Each granule has one use, drawn by the seed:

- **source**: the lidar's features with labels, to train and to validate on;
- **pairs**: both sensors' features, no labels: what collocation gives without anybody's judgement;
- **judged**: the radiometer's features; their labels are for judging.

So no label of a column that the radiometer's side learns from is ever read.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adaptation import image_folders
from adaptation.dataset import VALIDATION_SHARE, Dataset
from adaptation.image_folders import DataError
from adaptation.variable_names import CLASSES, LABEL, LIDAR, RADIOMETER

THERMAL = slice(RADIOMETER.index("VIIRS_M12"), None)
#: Shares of the granules; the rest is for pairs.
SOURCE, JUDGED = 0.4, 0.25
#: Sun's zenith angle (degrees) and brightness temperatures (K) beyond which a pixel is not used, as in the published
#: pre-processing.
MAX_SOLAR_ZENITH, BRIGHTNESS_RANGE_K = 83.0, (100.0, 400.0)


def list_granules(data: Path) -> tuple[list[Path], str]:
    """The granules' files and what kind of data they are, before anything heavy is done.

    :raises DataError: there are too few.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; make_columns.py --out {data} makes one to try")
    found = sorted(data.glob("*.npz"))
    if len(found) < 4:
        raise DataError(f"{data}: {len(found)} granule(s) (*.npz) in it, need 4 or more: each has one use")
    return found, image_folders.data_kind(data)


def assign_uses(count: int, seed: int) -> dict[str, list[int]]:
    """Which granules are for what: ``training``, ``validation``, ``pairs``, ``judged``."""
    drawn = np.random.default_rng([seed, 3]).permutation(count).tolist()
    source, judged = max(2, round(SOURCE * count)), max(1, round(JUDGED * count))
    validation = max(1, round(VALIDATION_SHARE * source))
    parts = {"validation": drawn[:validation], "training": drawn[validation:source], "judged": drawn[source:][:judged]}
    return {name: sorted(part) for name, part in (parts | {"pairs": drawn[source + judged :]}).items()}


def read_dataset(files: list[Path], kind: str, place: tuple[Any, int]) -> Dataset:
    """Read the granules.

    :param place: the device that columns go to, and the seed that gives each granule its use.
    :raises DataError: a file is no such granule, or a class cannot be learnt.
    """
    device, seed = place
    uses = {name: [files[number] for number in part] for name, part in assign_uses(len(files), seed).items()}
    training, validation, judged = (
        read_tables(uses[name], labelled=True) for name in ("training", "validation", "judged")
    )
    pairs = read_tables(uses["pairs"], labelled=False)
    missing = sorted({int(label) for label in judged[2]} - {int(label) for label in training[2]})
    if missing or len(set(training[2].tolist())) < 2:
        name = CLASSES[missing[0]] if missing else "a second class"
        raise DataError(f"{files[0].parent}: no column of {name} to train on: more granules, or another --seed")

    def put(*parts: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    count = len(training[2])
    common: dict[str, Any] = {
        "kind": kind,
        "classes": CLASSES,
        "source_labels": put(training[2], validation[2]),
        "training_indices": torch.arange(count, device=device),
        "validation_indices": torch.arange(count, count + len(validation[2]), device=device),
        "target_rows": put(pairs[1]),
        "test_rows": put(judged[1]),
        "test_labels": put(judged[2]),
        "row_name": "columns",
    }
    return Dataset(
        source_rows=put(training[0], validation[0]),
        paired_rows=put(pairs[0]),
        target_supervised=Dataset(source_rows=put(training[1], validation[1]), **common),
        **common,
    )


def read_tables(
    files: list[Path], *, labelled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """The usable columns of some granules; see :func:`table`.

    :raises DataError: there are none; also see there.
    """
    found = [read_table(path, labelled=labelled) for path in files]
    lidar, radiometer, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not len(lidar):
        raise DataError(f"{files[0]}: no usable column in it and {len(files) - 1} other granule(s)")
    return lidar, radiometer, labels


def read_table(path: Path, *, labelled: bool) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """The usable columns of one granule: lidar (n, 25), radiometer (n, 20), classes (n,) from 0.

    :param labelled: read the classes; else all are 0, and a column without one is usable, too.
    :raises DataError: the file cannot be read, or lacks a name, or its arrays do not fit each other.
    """
    wanted = (*LIDAR, *RADIOMETER, *((LABEL,) if labelled else ()))
    try:
        with np.load(path, allow_pickle=False) as file:
            if absent := [name for name in wanted if name not in file]:
                raise DataError(f"{path}: lacks {absent[0]} ({len(absent)} of {len(wanted)} names)")
            held = {name: np.asarray(file[name]) for name in wanted}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no granule that can be read ({' '.join(str(error).split())})") from error
    shape = (held[RADIOMETER[0]].size,)
    for name, line in held.items():
        if line.shape != shape or line.dtype.kind not in "fiu":
            raise DataError(f"{path}: {name} is {line.shape} {line.dtype}, need one number per column")
    # Published collocations leave out what a column lacks, or write 0: here it is 0.
    lidar, radiometer = (
        np.nan_to_num(np.stack([held[name] for name in names], axis=1).astype(np.float32), posinf=0.0, neginf=0.0)
        for names in (LIDAR, RADIOMETER)
    )
    labels = held[LABEL].astype(np.int64) if labelled else np.ones(shape, np.int64)
    if odd := set(labels.tolist()) - set(range(len(CLASSES) + 1)):
        raise DataError(f"{path}: {LABEL} is {min(odd)} somewhere, need 0 to {len(CLASSES)}")
    warm = radiometer[:, THERMAL]
    usable = (labels > 0) & (np.abs(radiometer[:, 0] - MAX_SOLAR_ZENITH / 2) <= MAX_SOLAR_ZENITH / 2)
    usable &= ((warm > BRIGHTNESS_RANGE_K[0]) & (warm < BRIGHTNESS_RANGE_K[1])).all(axis=1)
    return lidar[usable], radiometer[usable], labels[usable] - 1
