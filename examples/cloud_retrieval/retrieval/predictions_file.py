"""predictions.h5: one group per scene, written block by block as blocks arrive, in any order.

    /<scene>/cloud_mask_probability            1     cloud if 0.5 or more
    /<scene>/cloud_optical_thickness           1     given that there is cloud
    /<scene>/cloud_effective_radius            um    given that there is cloud
    /<scene>/...                               with boosting: see UNITS and LONG_NAMES below
    /<scene>/truth_cloud_optical_thickness     1     if known; NaN where clear
    /<scene>/truth_cloud_effective_radius      um
    /<scene>/reflectance_066, reflectance_213  1     the input
    /<scene>/role                              0 training, 1 buffer, 2 test; absent: all pixels are test pixels

COT and CER have a value in every pixel; where the probability is below 0.5, it is the estimate under the assumption of
cloud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from retrieval.scenes import SceneInfo, row_ranges
from retrieval.tasks import PredictionBlock

LWP_G_M2 = 2.0 / 3.0
"""Liquid water path (g m-2) of COT 1 and CER 1 um: 2/3 times the density of water, COT and CER (Stephens 1978)."""
UNITS = {
    "cloud_mask_probability": "1",
    "cloud_optical_thickness": "1",
    "cloud_effective_radius": "um",
    "cloud_optical_thickness_mean": "1",
    "liquid_water_path": "g m-2",
    "log_optical_thickness_half_width_68": "1",
    "log_optical_thickness_half_width_95": "1",
    "effective_radius_half_width_68": "um",
    "effective_radius_half_width_95": "um",
    "outside_training_range": "1",
    "pixel_alone_cloud_mask_probability": "1",
    "pixel_alone_cloud_optical_thickness": "1",
    "pixel_alone_cloud_effective_radius": "um",
    "truth_cloud_optical_thickness": "1",
    "truth_cloud_effective_radius": "um",
    "reflectance_066": "1",
    "reflectance_213": "1",
    "role": "1",
}
PIXEL_ALONE = tuple(name for name in UNITS if name.startswith("pixel_alone_"))
"""Planes of the baseline, of test pixels only; NaN elsewhere."""
LONG_NAMES = {
    "cloud_mask_probability": "probability that the pixel is cloudy; cloud if 0.5 or more",
    "cloud_optical_thickness": "cloud optical thickness at 0.66 um, given that there is cloud",
    "cloud_effective_radius": "cloud droplet effective radius, given that there is cloud",
    "cloud_optical_thickness_mean": "mean of cloud optical thickness over its uncertainty, given that there is cloud",
    "liquid_water_path": "2/3 x density of water x mean cloud optical thickness x effective radius, given cloud",
    "log_optical_thickness_half_width_68": "half the width of the 68% interval of log(1 + cloud_optical_thickness)",
    "log_optical_thickness_half_width_95": "half the width of the 95% interval of log(1 + cloud_optical_thickness)",
    "effective_radius_half_width_68": "half the width of the 68% interval of cloud_effective_radius",
    "effective_radius_half_width_95": "half the width of the 95% interval of cloud_effective_radius",
    "pixel_alone_cloud_mask_probability": "cloud_mask_probability by the baseline that sees the pixel alone",
    "pixel_alone_cloud_optical_thickness": "cloud_optical_thickness by the baseline that sees the pixel alone",
    "pixel_alone_cloud_effective_radius": "cloud_effective_radius by the baseline that sees the pixel alone",
    "outside_training_range": "1: reflectances, their ratio, angles or albedo outside the range of the training pixels",
    "truth_cloud_optical_thickness": "cloud optical thickness from the scene file; NaN where clear",
    "truth_cloud_effective_radius": "cloud droplet effective radius from the scene file; NaN where clear",
    "reflectance_066": "reflectance at 0.66 um, from the scene file",
    "reflectance_213": "reflectance at 2.13 um, from the scene file",
    "role": "0: training, 1: buffer between training and test pixels, 2: test",
}


class PredictionWriter:
    """Writer of predictions; create it with :func:`open_writer`."""

    def __init__(self, file: Any, infos: Iterable[SceneInfo]) -> None:
        self.file = file
        for info in infos:
            group = file.create_group(info.name)
            group.attrs["synthetic"] = info.synthetic
            group.attrs["shape"] = (info.rows, info.columns)
            group.attrs["pixel_m"] = info.pixel_m
            for angle, value in zip(("SZA", "VZA", "Surface_albedo"), info.geometry, strict=True):
                group.attrs[angle] = value

    def put(self, block: PredictionBlock) -> None:
        """Store one block of rows."""
        group = self.file[block.name]
        for name, plane in block.planes.items():
            if name not in group:
                self.create(group, name, plane.dtype)
            group[name][block.first : block.first + len(plane)] = plane

    def create(self, group: Any, name: str, dtype: Any) -> None:
        """Create an empty plane of the scene's size."""
        shape = tuple(int(size) for size in group.attrs["shape"])
        dataset = group.create_dataset(name, shape, dtype=dtype, chunks=True, compression="gzip", compression_opts=1)
        dataset.attrs["units"] = UNITS[name]
        dataset.attrs["long_name"] = LONG_NAMES[name]


@contextmanager
def open_writer(path: Path, infos: list[SceneInfo], *, data: str, model: str) -> Iterator[PredictionWriter]:
    """Open a writer to ``path``; the file gets its final name only once it is complete.

    :param data: ``synthetic``, ``real`` or ``mixed``, training scenes included.
    :param model: hash of the model.
    """
    # A run that is interrupted must not leave an incomplete file under the final name.
    part = path.with_name(f"{path.name}.part")
    with h5py.File(part, "w") as file:
        file.attrs["title"] = "cloud properties retrieved from reflectances at 0.66 and 2.13 um"
        file.attrs["synthetic"] = data != "real"
        file.attrs["data_kind"] = data
        file.attrs["model_sha256"] = model
        yield PredictionWriter(file, infos)
    part.replace(path)


def iter_scenes(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield name and open group of each scene, sorted by name."""
    with h5py.File(path, "r") as file:
        names: list[str] = []
        # Scene names may contain slashes, which are nested groups in HDF5.
        file.visititems(lambda name, item: names.append(name) if "shape" in item.attrs else None)
        for name in sorted(names):
            yield name, file[name]


def iter_row_blocks(group: Any) -> Iterator[dict[str, Any]]:
    """Yield the planes of a scene, a few rows at a time."""
    shape = tuple(int(size) for size in group.attrs["shape"])
    for first, last in row_ranges((shape[0], shape[1]), 0):
        yield {name: dataset[first:last] for name, dataset in group.items()}


def digest(path: Path) -> str:
    """Return the SHA-256 of names and predicted values of all scenes, sorted; truth and roles are not included."""
    predicted = [name for name in UNITS if not name.startswith(("truth_", "reflectance_", "role"))]
    total = hashlib.sha256()
    for name, group in iter_scenes(path):
        total.update(name.encode())
        for part in iter_row_blocks(group):
            for plane in predicted:
                if plane in part:
                    total.update(np.ascontiguousarray(part[plane], dtype="<f4").tobytes())
    return total.hexdigest()
