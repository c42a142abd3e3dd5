"""The sixteen moderate-resolution bands of VIIRS, and Planck's function.

Centre wavelengths: VIIRS Radiometric Calibration ATBD, table 2 (um). The steps of the stored integers are those of the
radiances in a collocation of real granules of 2 January 2013: full scale over 65527, the largest valid integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 65527  # integers above it are reasons why there is no value
TRIMMED = 65533  # line left out on board where scans overlap towards the edge of the swath
MISSING = 65535

PLANCK_1 = 1.191042972e8  # 2 h c^2, W m-2 sr-1 um^4
PLANCK_2 = 1.438776877e4  # h c / k, um K


@dataclass(frozen=True)
class Band:
    """One band: name, centre wavelength (um), whether it is stored as a radiance, and the full scale of its integers.

    Reflective bands are stored as reflectance times the cosine of the solar zenith angle.
    """

    name: str
    um: float
    thermal: bool
    full: float

    @property
    def step(self) -> float:
        """What one step of the stored integer means."""
        return self.full / LARGEST


REFLECTIVE = (
    ("M01", 0.412),
    ("M02", 0.445),
    ("M03", 0.488),
    ("M04", 0.555),
    ("M05", 0.672),
    ("M06", 0.746),
    ("M07", 0.865),
    ("M08", 1.240),
    ("M09", 1.378),
    ("M10", 1.610),
    ("M11", 2.250),
)
THERMAL = (
    ("M12", 3.700, 5.0),
    ("M13", 4.050, 530.0),
    ("M14", 8.550, 23.0),
    ("M15", 10.763, 24.0),
    ("M16", 12.013, 21.0),
)
BANDS = (
    *(Band(name, um, False, 1.31) for name, um in REFLECTIVE),
    *(Band(name, um, True, full) for name, um, full in THERMAL),
)
NAMES = tuple(band.name for band in BANDS)


def radiance(um: float, kelvin: Any) -> NDArray[Any]:
    """Planck's function at a wavelength (um), W m-2 sr-1 um-1."""
    return np.asarray(PLANCK_1 / um**5 / np.expm1(PLANCK_2 / um / np.asarray(kelvin)))


def brightness(um: float, watts: NDArray[Any]) -> NDArray[Any]:
    """Brightness temperature (K) of radiances (W m-2 sr-1 um-1); NaN where there is none to be had."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kelvin = PLANCK_2 / um / np.log1p(PLANCK_1 / um**5 / watts)
    return np.where(watts > 0.0, kelvin, np.nan).astype(watts.dtype)
