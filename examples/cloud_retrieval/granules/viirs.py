"""VNP02MOD and VNP03MOD: radiances, geometry, and the time of each line, window by window.

Layout (NetCDF4; VIIRS Level 1 user guide):

    VNP02MOD  observation_data/M01 ... M16 (number_of_lines, number_of_pixels) uint16, scale_factor, add_offset;
              observation_data/M12_brightness_temperature_lut ... (65536)
    VNP03MOD  geolocation_data/latitude, longitude, solar_zenith, solar_azimuth, sensor_zenith, sensor_azimuth,
              land_water_mask; scan_line_attributes/scan_start_time, scan_end_time (number_of_scans), TAI since 1993

M01 to M11 hold reflectance times the cosine of the solar zenith angle. Integers above ``valid_max`` say why there is no
value (65533: trimmed on board). A night granule lacks most reflective bands: they read as NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval.scenes import SceneError

from granules import hdf_files
from granules.collocation import Swath

Plane = NDArray[np.float32]
MAX_VALID_COUNT = 65527  # integers above it are reasons why there is no value
TRIMMED_COUNT = 65533  # line left out on board where scans overlap towards the edge of the swath
MISSING_COUNT = 65535

PLANCK_1 = 1.191042972e8  # 2 h c^2, W m-2 sr-1 um^4
PLANCK_2 = 1.438776877e4  # h c / k, um K


@dataclass(frozen=True)
class Band:
    """One band: name, centre wavelength (um), whether it is stored as a radiance, and the full scale of its integers.

    Reflective bands are stored as reflectance times the cosine of the solar zenith angle.
    """

    name: str
    wavelength_um: float
    thermal: bool
    full_scale: float

    @property
    def step(self) -> float:
        """What one step of the stored integer means."""
        return self.full_scale / MAX_VALID_COUNT


REFLECTIVE_BANDS = (
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
THERMAL_BANDS = (
    ("M12", 3.700, 5.0),
    ("M13", 4.050, 530.0),
    ("M14", 8.550, 23.0),
    ("M15", 10.763, 24.0),
    ("M16", 12.013, 21.0),
)
BANDS = (
    *(Band(name, um, False, 1.31) for name, um in REFLECTIVE_BANDS),
    *(Band(name, um, True, full) for name, um, full in THERMAL_BANDS),
)
BAND_NAMES = tuple(band.name for band in BANDS)


def planck_radiance(um: float, kelvin: Any) -> NDArray[Any]:
    """Planck's function at a wavelength (um), W m-2 sr-1 um-1."""
    return np.asarray(PLANCK_1 / um**5 / np.expm1(PLANCK_2 / um / np.asarray(kelvin)))


def brightness_temperature(um: float, watts: NDArray[Any]) -> NDArray[Any]:
    """Brightness temperature (K) of radiances (W m-2 sr-1 um-1); NaN where there is none to be had."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kelvin = PLANCK_2 / um / np.log1p(PLANCK_1 / um**5 / watts)
    return np.where(watts > 0.0, kelvin, np.nan).astype(watts.dtype)


ANGLES = ("solar_zenith", "solar_azimuth", "sensor_zenith", "sensor_azimuth")
# Codes of land_water_mask that are land or coast.
LAND_CODES = (1, 2)


@dataclass(frozen=True)
class Window:
    """Lines ``first`` to ``last`` and pixels ``left`` to ``right`` (half open); may reach beyond the granule."""

    first: int
    last: int
    left: int
    right: int

    def expanded(self, by: int) -> Window:
        """The window with a margin."""
        return Window(self.first - by, self.last + by, self.left - by, self.right + by)

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels."""
        return self.last - self.first, self.right - self.left


@dataclass(frozen=True)
class Geometry:
    """Angles (degrees) and land (1) or water (0) of a window."""

    angles: dict[str, Plane]
    land: Plane


@dataclass(frozen=True)
class Granule:
    """An open granule; windows are read on demand."""

    labels: tuple[str, str]
    radiances: Any
    geolocation: Any
    shape: tuple[int, int]
    synthetic: bool

    def swath(self) -> Swath:
        """Where and when; pixels without an observation (trimmed on board) are not usable."""
        latitude, longitude = (self.geolocation_plane(f"geolocation_data/{name}") for name in ("latitude", "longitude"))
        return Swath(latitude, longitude, self.line_times(), self.observed())

    def geolocation_plane(self, name: str) -> Plane:
        """A plane of the geolocation file."""
        return self.scaled_values(self.geolocation, name, Window(0, self.shape[0], 0, self.shape[1]))

    def line_times(self) -> NDArray[np.float64]:
        """Middle of the scan of each line, seconds since 1993 (TAI)."""
        names = ("scan_start_time", "scan_end_time")
        edges = [self.read(self.geolocation, f"scan_line_attributes/{name}") for name in names]
        middle = (edges[0].astype(np.float64) + edges[1]) / 2.0
        if not len(middle) or self.shape[0] % len(middle):
            raise SceneError(f"{self.labels[1]}: {self.shape[0]} lines are no multiple of {len(middle)} scans")
        return np.repeat(middle, self.shape[0] // len(middle))

    def observed(self) -> NDArray[np.bool_]:
        """Where the 10.8 um band, which sees day and night, has a value."""
        with hdf_files.LIBRARY_LOCK:
            plane = self.variable(self.radiances, "observation_data/M15")
            limit = int(getattr(plane, "valid_max", MAX_VALID_COUNT))
        return np.asarray(self.read(self.radiances, "observation_data/M15") <= limit)

    def band(self, band: Band, window: Window) -> Plane:
        """A band as stored (reflectance times the sun's cosine, or W m-2 sr-1 um-1), NaN where there is none."""
        name = f"observation_data/{band.name}"
        if not band.thermal and band.name not in self.radiances["observation_data"].variables:
            return np.full(window.shape, np.nan, np.float32)
        return self.scaled_values(self.radiances, name, window)

    def brightness_temperature(self, band: Band, window: Window) -> Plane:
        """Brightness temperature (K) of a thermal band: by the file's own table where it has one."""
        name = f"observation_data/{band.name}"
        table = f"{band.name}_brightness_temperature_lut"
        if table not in self.radiances["observation_data"].variables:
            return brightness_temperature(band.wavelength_um, self.scaled_values(self.radiances, name, window))
        with hdf_files.LIBRARY_LOCK:
            raw, limit = self.stored_values(name, window)
        kelvin = fill_cold_end(self.read(self.radiances, f"observation_data/{table}").astype(np.float32))
        return np.where(raw <= limit, kelvin[raw], np.float32(np.nan))

    def stored_values(self, name: str, window: Window) -> tuple[NDArray[np.uint16], int]:
        """Stored integers of a window inside the granule, and the largest that is a value."""
        plane = self.variable(self.radiances, name)
        limit = int(getattr(plane, "valid_max", MAX_VALID_COUNT))
        return self.read(self.radiances, name, window), limit

    def geometry(self, window: Window) -> Geometry:
        """Angles and land of a window inside the granule."""
        angles = {name: self.scaled_values(self.geolocation, f"geolocation_data/{name}", window) for name in ANGLES}
        codes = self.read(self.geolocation, "geolocation_data/land_water_mask", window)
        return Geometry(angles, np.isin(codes, LAND_CODES).astype(np.float32))

    def scaled_values(self, file: Any, name: str, window: Window) -> Plane:
        """Values of a window inside the granule: scale and offset applied, NaN for fill values."""
        with hdf_files.LIBRARY_LOCK:
            plane = self.variable(file, name)
            facts = {key: plane.getncattr(key) for key in plane.ncattrs()}
        raw = self.read(file, name, window)
        good = np.ones(raw.shape, bool)
        if "_FillValue" in facts:
            good &= raw != facts["_FillValue"]
        low, high = valid_limits(facts)
        good &= (raw >= low) & (raw <= high)
        values = raw * np.float32(facts.get("scale_factor", 1.0)) + np.float32(facts.get("add_offset", 0.0))
        return np.where(good, values, np.float32(np.nan)).astype(np.float32, copy=False)

    def variable(self, file: Any, name: str) -> Any:
        """A variable of one of the two files."""
        return hdf_files.get_variable(file, name, self.labels[file is self.geolocation])

    def read(self, file: Any, name: str, window: Window | None = None) -> NDArray[Any]:
        """Stored numbers of a variable of one of the two files: all of them, or those of a window inside it."""
        where = (slice(window.first, window.last), slice(window.left, window.right)) if window else slice(None)
        with hdf_files.LIBRARY_LOCK:
            return hdf_files.read_values(self.variable(file, name), where, self.labels[file is self.geolocation])


def fill_cold_end(kelvin: NDArray[np.float32]) -> NDArray[np.float32]:
    """A table of temperatures whose entries without one (-999.9) are NaN, but for those at its lower end.

    No radiance is no gap: M13 receives less than one step from the coldest clouds. They get the lowest temperature
    that the table tells.
    """
    known = kelvin > 0.0
    first = int(known.argmax())
    return np.concatenate([np.full(first, kelvin[first]), np.where(known, kelvin, np.float32(np.nan))[first:]])


def valid_limits(facts: dict[str, Any]) -> tuple[float, float]:
    """Smallest and largest stored number that is a value."""
    if "valid_range" in facts:
        low, high = facts["valid_range"]
        return float(low), float(high)
    return float(facts.get("valid_min", -np.inf)), float(facts.get("valid_max", np.inf))


@contextmanager
def open_granule(radiances: Path, geolocation: Path, *, label: str, other: str = "") -> Iterator[Granule]:
    """Open both files of a granule and check that they are of one shape.

    :param label: how errors name the radiances, and ``other`` the geolocation; without: as the radiances.
    :raises SceneError: when a file cannot be read or is not laid out as a granule.
    """
    other = other or label
    with hdf_files.open_netcdf(radiances, label) as first, hdf_files.open_netcdf(geolocation, other) as second:
        with hdf_files.LIBRARY_LOCK:
            shape = hdf_files.get_variable(second, "geolocation_data/latitude", other).shape
            seen = hdf_files.get_variable(first, "observation_data/M15", label).shape
            synthetic = any(bool(getattr(file, "synthetic", 0)) for file in (first, second))
        if shape != seen:
            raise SceneError(f"{label}: radiances of {seen} pixels, geolocation of {shape}")
        yield Granule((label, other), first, second, (int(shape[0]), int(shape[1])), synthetic)
