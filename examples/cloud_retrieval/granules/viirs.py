"""VIIRS: the sixteen moderate-resolution bands, and reading VNP02MOD and VNP03MOD window by window.

Layout (NetCDF4; VIIRS Level 1 user guide):

    VNP02MOD  observation_data/M01 ... M16 (number_of_lines, number_of_pixels) uint16, scale_factor, add_offset;
              observation_data/M12_brightness_temperature_lut ... (65536)
    VNP03MOD  geolocation_data/latitude, longitude, solar_zenith, solar_azimuth, sensor_zenith, sensor_azimuth,
              land_water_mask; scan_line_attributes/scan_start_time, scan_end_time (number_of_scans), TAI since 1993

M01 to M11 hold reflectance times the cosine of the solar zenith angle. Integers above ``valid_max`` encode the reason
for a missing value (65533: trimmed on board). Night granules lack most reflective bands, which are read as NaN.

Quality flags (NASA VIIRS Level-1B Product User Guide, appendices 1 and 2), where a file has them:

    VNP02MOD  observation_data/M01_quality_flags ... : values that are saturated, also in part (bits 4 and 128), missing
              (512), of a failed calibration (1024) or of a dead detector (2048) are read as NaN
    VNP03MOD  geolocation_data/quality_flag: where input is invalid (bit 1) or the pointing is bad (2), latitude and
              longitude are read as NaN; a failed terrain correction (4) displaces a pixel by less than a match allows

Center wavelengths: VIIRS Radiometric Calibration ATBD, table 2 (um). The steps of the stored integers are those of the
radiances in a collocation of real granules of 2 January 2013: full scale / 65527, the largest valid integer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
MAX_VALID_COUNT = 65527  # larger integers encode the reason for a missing value
TRIMMED_COUNT = 65533  # line left out on board where scans overlap toward the edge of the swath
MISSING_COUNT = 65535
# Bits of the quality flags of a band, and of the geolocation.
SATURATED, PARTLY_SATURATED, MISSING_VIEW, CALIBRATION_FAILED, DEAD_DETECTOR = 4, 128, 512, 1024, 2048
UNUSABLE_BITS = SATURATED | PARTLY_SATURATED | MISSING_VIEW | CALIBRATION_FAILED | DEAD_DETECTOR
INPUT_INVALID, POINTING_BAD = 1, 2
MISPLACED_BITS = INPUT_INVALID | POINTING_BAD

PLANCK_1 = 1.191042972e8  # 2 h c^2, W m-2 sr-1 um^4
PLANCK_2 = 1.438776877e4  # h c / k, um K


@dataclass(frozen=True)
class Band:
    """One band: name, center wavelength (um), whether it is thermal, and the full scale of its integers.

    Thermal bands are stored as radiance (W m-2 sr-1 um-1), reflective bands as reflectance times the cosine of the
    solar zenith angle.
    """

    name: str
    wavelength_um: float
    thermal: bool
    full_scale: float

    @property
    def step(self) -> float:
        """Value of one step of the stored integers."""
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


def planck_radiance(wavelength_um: float, kelvin: Any) -> NDArray[Any]:
    """Return Planck's function (W m-2 sr-1 um-1) at a wavelength (um) and temperatures (K)."""
    return np.asarray(PLANCK_1 / wavelength_um**5 / np.expm1(PLANCK_2 / wavelength_um / np.asarray(kelvin)))


def brightness_temperature(wavelength_um: float, radiance: NDArray[Any]) -> NDArray[Any]:
    """Return brightness temperatures (K) of radiances (W m-2 sr-1 um-1); NaN for radiances that are not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kelvin = PLANCK_2 / wavelength_um / np.log1p(PLANCK_1 / wavelength_um**5 / radiance)
    return np.where(radiance > 0.0, kelvin, np.nan).astype(radiance.dtype)


ANGLES = ("solar_zenith", "solar_azimuth", "sensor_zenith", "sensor_azimuth")
# Codes of land_water_mask for land and coast.
LAND_CODES = (1, 2)
GEOLOCATION_PLANES = ("latitude", "longitude", *ANGLES, "land_water_mask", "quality_flag")


@dataclass(frozen=True)
class Window:
    """Lines ``first`` to ``last`` and pixels ``left`` to ``right`` (half open); may extend beyond the granule."""

    first: int
    last: int
    left: int
    right: int

    def expanded(self, margin: int) -> Window:
        """Return the window with a margin on all sides."""
        return Window(self.first - margin, self.last + margin, self.left - margin, self.right + margin)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of lines and pixels."""
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
        """Return geolocation and times; pixels without an observation (trimmed on board) or time are not usable."""
        latitude, longitude = (self.coordinates(name, self.whole) for name in ("latitude", "longitude"))
        times = self.line_times()
        return Swath(latitude, longitude, times, self.observed() & np.isfinite(times)[:, None])

    @property
    def whole(self) -> Window:
        """Window of the whole granule."""
        return Window(0, self.shape[0], 0, self.shape[1])

    def coordinates(self, name: str, window: Window) -> Plane:
        """Return latitude or longitude (degrees) of a window inside the granule, NaN where the pixel is misplaced."""
        values = self.scaled_values(self.geolocation, f"geolocation_data/{name}", window)
        flags = self.flags(self.geolocation, "geolocation_data", "quality_flag", window)
        return np.where(flags & MISPLACED_BITS, np.float32(np.nan), values)

    def line_times(self) -> NDArray[np.float64]:
        """Return the middle of the scan of each line, seconds since 1993 (TAI); NaN for scans without a time."""
        names = ("scan_start_time", "scan_end_time")
        start, end = (self.read(self.geolocation, f"scan_line_attributes/{name}").astype(np.float64) for name in names)
        if start.ndim != 1 or start.shape != end.shape or not len(start) or self.shape[0] % len(start):
            raise SceneError(f"{self.labels[1]}: {self.shape[0]} lines are not a multiple of {len(start)} scans")
        # The fill value is -999.9; the mean of a fill value and a time would be a time in another decade.
        middle = np.where((start > 0.0) & (end > 0.0), (start + end) / 2.0, np.nan)
        # The product has one time per scan, not per line.
        return np.repeat(middle, self.shape[0] // len(start))

    def observed(self) -> NDArray[np.bool_]:
        """Return True where the 10.8 um band, which observes day and night, has a value."""
        with hdf_files.LIBRARY_LOCK:
            plane = self.variable(self.radiances, "observation_data/M15")
            limit = int(getattr(plane, "valid_max", MAX_VALID_COUNT))
        has_value = self.read(self.radiances, "observation_data/M15") <= limit
        return np.asarray(has_value & ~self.excluded("M15", self.whole))

    def excluded(self, band: str, window: Window) -> NDArray[np.bool_]:
        """Return True where the quality flags exclude the value of a band."""
        flags = self.flags(self.radiances, "observation_data", f"{band}_quality_flags", window)
        return np.asarray((flags & UNUSABLE_BITS) != 0)

    def count_flagged(self, line: NDArray[Any], pixel: NDArray[Any]) -> int:
        """Return the number of values that the quality flags exclude at some pixels, over all bands."""
        window = Window(int(line.min()), int(line.max()) + 1, int(pixel.min()), int(pixel.max()) + 1)
        planes = (self.excluded(name, window) for name in BAND_NAMES)
        rows, columns = line - window.first, pixel - window.left
        return sum(int(plane[rows, columns].sum()) for plane in planes if plane.shape == window.shape)

    def count_misplaced(self) -> int:
        """Return the number of pixels whose geolocation is flagged as invalid."""
        flags = self.flags(self.geolocation, "geolocation_data", "quality_flag", self.whole)
        return int(np.count_nonzero(flags & MISPLACED_BITS))

    def flags(self, file: Any, group: str, name: str, window: Window) -> NDArray[Any]:
        """Return quality flags of a window inside the granule; 0 if the file has none."""
        if name not in file[group].variables:
            return np.zeros((1, 1), np.uint16)
        return self.read(file, f"{group}/{name}", window)

    def band(self, band: Band, window: Window) -> Plane:
        """Return a band as stored (reflectance times solar cosine, or W m-2 sr-1 um-1), NaN where missing."""
        name = f"observation_data/{band.name}"
        if not band.thermal and band.name not in self.radiances["observation_data"].variables:
            return np.full(window.shape, np.nan, np.float32)
        values = self.scaled_values(self.radiances, name, window)
        return np.where(self.excluded(band.name, window), np.float32(np.nan), values)

    def brightness_temperature(self, band: Band, window: Window) -> Plane:
        """Return brightness temperatures (K) of a thermal band, from the table in the file if it has one."""
        name = f"observation_data/{band.name}"
        table = f"{band.name}_brightness_temperature_lut"
        if table not in self.radiances["observation_data"].variables:
            return brightness_temperature(band.wavelength_um, self.band(band, window))
        with hdf_files.LIBRARY_LOCK:
            raw, limit = self.stored_values(name, window)
        kelvin = self.temperature_table(table, limit)
        valid = (raw <= limit) & ~self.excluded(band.name, window)
        # Masked first: the table need not have an entry for the integers that encode why a value is missing.
        return np.where(valid, kelvin[np.where(valid, raw, 0)], np.float32(np.nan))

    def temperature_table(self, name: str, limit: int) -> NDArray[np.float32]:
        """Return a table of brightness temperatures (K) by stored integer.

        :raises SceneError: if it has no entry for some valid integers.
        """
        kelvin = self.read(self.radiances, f"observation_data/{name}")
        if kelvin.ndim != 1 or len(kelvin) <= limit:
            raise SceneError(f"{self.labels[0]}: {name} {kelvin.shape} has no entry for valid integers up to {limit}")
        return fill_cold_end(kelvin.astype(np.float32))

    def stored_values(self, name: str, window: Window) -> tuple[NDArray[np.uint16], int]:
        """Return stored integers of a window inside the granule, and the largest valid integer."""
        plane = self.variable(self.radiances, name)
        limit = int(getattr(plane, "valid_max", MAX_VALID_COUNT))
        return self.read(self.radiances, name, window), limit

    def geometry(self, window: Window) -> Geometry:
        """Return angles and land mask of a window inside the granule."""
        angles = {name: self.scaled_values(self.geolocation, f"geolocation_data/{name}", window) for name in ANGLES}
        codes = self.read(self.geolocation, "geolocation_data/land_water_mask", window)
        return Geometry(angles, np.isin(codes, LAND_CODES).astype(np.float32))

    def scaled_values(self, file: Any, name: str, window: Window) -> Plane:
        """Return values of a window inside the granule: scale and offset applied, NaN for fill values."""
        with hdf_files.LIBRARY_LOCK:
            plane = self.variable(file, name)
            attributes = {key: plane.getncattr(key) for key in plane.ncattrs()}
        raw = self.read(file, name, window)
        valid = np.ones(raw.shape, bool)
        if "_FillValue" in attributes:
            valid &= raw != attributes["_FillValue"]
        # Besides the fill value, integers above valid_max encode why a value is missing.
        low, high = valid_limits(attributes)
        valid &= (raw >= low) & (raw <= high)
        values = raw * np.float32(attributes.get("scale_factor", 1.0)) + np.float32(attributes.get("add_offset", 0.0))
        return np.where(valid, values, np.float32(np.nan)).astype(np.float32, copy=False)

    def variable(self, file: Any, name: str) -> Any:
        """Return a variable of one of the two files."""
        return hdf_files.get_variable(file, name, self.labels[file is self.geolocation])

    def read(self, file: Any, name: str, window: Window | None = None) -> NDArray[Any]:
        """Return stored numbers of a variable: all of them, or those of a window inside it."""
        index = (slice(window.first, window.last), slice(window.left, window.right)) if window else slice(None)
        with hdf_files.LIBRARY_LOCK:
            return hdf_files.read_values(self.variable(file, name), index, self.labels[file is self.geolocation])


def fill_cold_end(kelvin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace missing entries (-999.9) of a temperature table: by the lowest temperature at the cold end, else by NaN.

    Zero radiance is a valid measurement: M13 receives less than one step from the coldest clouds, which therefore get
    the lowest temperature in the table.
    """
    has_value = kelvin > 0.0
    first = int(has_value.argmax())
    return np.concatenate([np.full(first, kelvin[first]), np.where(has_value, kelvin, np.float32(np.nan))[first:]])


def valid_limits(attributes: dict[str, Any]) -> tuple[float, float]:
    """Return the smallest and largest valid stored number."""
    if "valid_range" in attributes:
        low, high = attributes["valid_range"]
        return float(low), float(high)
    return float(attributes.get("valid_min", -np.inf)), float(attributes.get("valid_max", np.inf))


def check_planes(group: Any, names: Sequence[str], shape: tuple[int, ...], label: str) -> None:
    """Check that the planes that a group has, and their quality flags, are numbers of the granule's shape.

    :raises SceneError: for the first one that is not.
    """
    if len(shape) != 2 or not all(shape):
        raise SceneError(f"{label}: pixels of shape {shape}, not lines and pixels")
    for name in (*names, *(f"{name}_quality_flags" for name in names)):
        if name not in group.variables:
            continue
        plane = group.variables[name]
        if plane.shape != shape:
            raise SceneError(f"{label}: {name} has shape {plane.shape}, the granule {shape}")
        # Bands and flags index tables and are tested bit by bit.
        allowed = "ui" if name.startswith("M") or name.endswith("flag") else "uif"
        if getattr(plane.dtype, "kind", "") not in allowed:
            raise SceneError(
                f"{label}: {name} holds {plane.dtype}, not {'integers' if 'f' not in allowed else 'numbers'}"
            )


@contextmanager
def open_granule(radiances: Path, geolocation: Path, *, label: str, geolocation_label: str = "") -> Iterator[Granule]:
    """Open both files of a granule and check that their shapes agree.

    :param label: name of the radiance file in error messages; ``geolocation_label``: of the other file, by default the
        same.
    :raises SceneError: if a file cannot be read or does not have the layout of a granule.
    """
    geolocation_label = geolocation_label or label
    with (
        hdf_files.open_netcdf(radiances, label) as radiance_file,
        hdf_files.open_netcdf(geolocation, geolocation_label) as geolocation_file,
    ):
        with hdf_files.LIBRARY_LOCK:
            shape = hdf_files.get_variable(geolocation_file, "geolocation_data/latitude", geolocation_label).shape
            radiance_shape = hdf_files.get_variable(radiance_file, "observation_data/M15", label).shape
            synthetic = any(bool(getattr(file, "synthetic", 0)) for file in (radiance_file, geolocation_file))
            if shape != radiance_shape:
                raise SceneError(f"{label}: radiances of {radiance_shape} pixels, geolocation of {shape}")
            check_planes(radiance_file["observation_data"], BAND_NAMES, shape, label)
            check_planes(geolocation_file["geolocation_data"], GEOLOCATION_PLANES, shape, geolocation_label)
        yield Granule(
            (label, geolocation_label), radiance_file, geolocation_file, (int(shape[0]), int(shape[1])), synthetic
        )
