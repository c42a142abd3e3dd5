"""Scene files of the cloud retrieval job, valid ones and ones with a given defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

GOOD = np.full((2, 20, 20), 0.3)


COT = np.where(np.arange(400).reshape(20, 20) % 2, 5.0, np.nan)


HOLE = np.where(np.arange(800).reshape(2, 20, 20) == 427, np.nan, 0.3)


def write_scene(path: Path, reflectance: Any, cot: Any, **others: Any) -> None:
    """A scene by plain names; ``others`` replace datasets, None leaves one out."""
    planes = {
        "Reflectance": reflectance,
        "Cloud_optical_thickness": cot,
        "CER": np.where(np.isfinite(cot), 9.0, np.nan),
        "SZA": 60.0,
        "VZA": 0,
        "Surface_albedo": 0.05,
    }
    with h5py.File(path, "w") as file:
        for name, values in (planes | others).items():
            if values is not None:
                file[name] = values
