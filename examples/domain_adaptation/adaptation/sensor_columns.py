"""Columns observed by two sensors, one ``.npz`` file per granule, and the use of each granule.

A file holds one array per name: the lidar's 25 features (``CALIOP_...``), the radiometer's 20 (``VIIRS_...``), and the
label, 1 to 6, or 0 without a label. Each granule has one use, drawn with the seed:

- **source**: the lidar's features with labels, for training and validation;
- **pairs**: features of both sensors, no labels: collocation pairs them without any labeling;
- **evaluation**: the radiometer's features, with labels for evaluation only.

Therefore no label of a column that the radiometer's encoder is trained on is ever read.
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
#: Shares of the granules; the remainder is used for pairs.
SOURCE, EVALUATION = 0.4, 0.25
#: Limits of solar zenith angle (degrees) and brightness temperature (K), from the published preprocessing.
MAX_SOLAR_ZENITH, BRIGHTNESS_RANGE_K = 83.0, (100.0, 400.0)


def list_granules(data: Path) -> tuple[list[Path], str]:
    """Return the granules' files and the kind of the data; reads no granule.

    :raises DataError: if there are too few.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; make_columns.py --out {data} creates sample columns")
    files = sorted(data.glob("*.npz"))
    if len(files) < 4:
        raise DataError(f"{data}: {len(files)} granule(s) (*.npz), need 4 or more: one for each use")
    return files, image_folders.data_kind(data)


def assign_uses(count: int, seed: int) -> dict[str, list[int]]:
    """Return the indices of granules by use: ``training``, ``validation``, ``pairs``, ``evaluation``."""
    shuffled = np.random.default_rng([seed, 3]).permutation(count).tolist()
    # Each use gets at least one granule, also with the minimum of four.
    source_count, evaluation = max(2, round(SOURCE * count)), max(1, round(EVALUATION * count))
    validation = max(1, round(VALIDATION_SHARE * source_count))
    parts = {
        "validation": shuffled[:validation],
        "training": shuffled[validation:source_count],
        "evaluation": shuffled[source_count:][:evaluation],
    }
    return {name: sorted(part) for name, part in (parts | {"pairs": shuffled[source_count + evaluation :]}).items()}


def read_dataset(files: list[Path], kind: str, device_and_seed: tuple[Any, int]) -> Dataset:
    """Read the granules.

    :param device_and_seed: the device of the rows, and the seed that assigns uses to granules.
    :raises DataError: if a file is not a granule, or a class has no training column.
    """
    device, seed = device_and_seed
    uses = {use: [files[number] for number in part] for use, part in assign_uses(len(files), seed).items()}
    training, validation, evaluation = (
        read_tables(uses[use], labeled=True) for use in ("training", "validation", "evaluation")
    )
    pairs = read_tables(uses["pairs"], labeled=False)
    missing = sorted({int(label) for label in evaluation[2]} - {int(label) for label in training[2]})
    if missing or len(set(training[2].tolist())) < 2:
        class_name = CLASSES[missing[0]] if missing else "a second class"
        raise DataError(f"{files[0].parent}: no column of {class_name} to train on: more granules, or another --seed")

    def to_device(*parts: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    count = len(training[2])
    shared: dict[str, Any] = {
        "kind": kind,
        "classes": CLASSES,
        "source_labels": to_device(training[2], validation[2]),
        "training_indices": torch.arange(count, device=device),
        "validation_indices": torch.arange(count, count + len(validation[2]), device=device),
        "target_rows": to_device(pairs[1]),
        "test_rows": to_device(evaluation[1]),
        "test_labels": to_device(evaluation[2]),
        "row_name": "columns",
    }
    return Dataset(
        source_rows=to_device(training[0], validation[0]),
        paired_rows=to_device(pairs[0]),
        target_supervised=Dataset(source_rows=to_device(training[1], validation[1]), **shared),
        **shared,
    )


def read_tables(
    files: list[Path], *, labeled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the usable columns of some granules; see :func:`read_table`.

    :raises DataError: if there are none, or a file is unusable.
    """
    granules = [read_table(path, labeled=labeled) for path in files]
    lidar, radiometer, labels = (np.concatenate(parts) for parts in zip(*granules, strict=True))
    if not len(lidar):
        raise DataError(f"{files[0]}: no usable column in it and {len(files) - 1} other granule(s)")
    return lidar, radiometer, labels


def read_table(path: Path, *, labeled: bool) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the usable columns of one granule: lidar (n, 25), radiometer (n, 20), classes (n,) from 0.

    :param labeled: read the classes; otherwise all are 0, and columns without a label are usable.
    :raises DataError: if the file cannot be read, lacks a variable, or has arrays of different lengths.
    """
    required = (*LIDAR, *RADIOMETER, *((LABEL,) if labeled else ()))
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in required if name not in file]:
                raise DataError(f"{path}: lacks {missing[0]} ({len(missing)} of {len(required)} names)")
            arrays = {name: np.asarray(file[name]) for name in required}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable granule ({' '.join(str(error).split())})") from error
    shape = (arrays[RADIOMETER[0]].size,)
    for name, values in arrays.items():
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise DataError(f"{path}: {name} is {values.shape} {values.dtype}, expected one number per column")
    # Published collocations have NaN or 0 where a column lacks a layer; here it is always 0.
    lidar, radiometer = (
        np.nan_to_num(np.stack([arrays[name] for name in required], axis=1).astype(np.float32), posinf=0.0, neginf=0.0)
        for required in (LIDAR, RADIOMETER)
    )
    labels = arrays[LABEL].astype(np.int64) if labeled else np.ones(shape, np.int64)
    if invalid := set(labels.tolist()) - set(range(len(CLASSES) + 1)):
        raise DataError(f"{path}: {LABEL} is {min(invalid)} in some column, expected 0 to {len(CLASSES)}")
    brightness = radiometer[:, THERMAL]
    usable = (labels > 0) & (np.abs(radiometer[:, 0] - MAX_SOLAR_ZENITH / 2) <= MAX_SOLAR_ZENITH / 2)
    usable &= ((brightness > BRIGHTNESS_RANGE_K[0]) & (brightness < BRIGHTNESS_RANGE_K[1])).all(axis=1)
    return lidar[usable], radiometer[usable], labels[usable] - 1
