"""The synthetic atmosphere under a granule: surface and two cloud decks, as functions of position for both satellites.

Fields are defined on a grid along and across the ground track (km on the ground; no pole or date line in the grid).
Sources:

- **Cloud water.** Gaussian fields whose power falls as k^-3.3 in two dimensions up to an outer scale: level sets of
  such a field have outlines of dimension 1.35, as clouds have from 1 to 1000 km (Lovejoy 1982, Science 216, 185).
  Optical thickness is an exponential of the field minus a threshold, so it is lognormal-like inside clouds, zero
  elsewhere, and thin at every edge.
- **Two decks.** A low deck, liquid when warm, whose tallest towers become deep convection, and cirrus below the
  tropopause. Where both overlap, the column contains both phases.
- **Phase of the low deck.** Water above 0 C, ice below -38 C (homogeneous freezing); in between, supercooled water
  becomes rarer with decreasing temperature (a ramp in temperature against a correlated field), as lidar climatologies
  find (Hu et al. 2010, J. Geophys. Res. 115, D00H34).
- **Air.** Surface temperature by latitude and land, 6.5 K per km up to a tropopause that descends from 16.5 km at the
  equator to 8.5 km at the poles; water vapor of 4.8 cm in the tropics to 0.2 cm at the poles, scale height 2.2 km.
- **Surface.** Continents from a few waves on the sphere, identical in every granule; vegetation, deserts, snow; sea ice
  toward the winter pole.
- **Between the two observations** clouds drift with the wind, and the swath shows a cloud displaced by its height times
  the tangent of the viewing angle, while the lidar looks straight down. Neither is corrected, as in real collocations.

Plausible, not calibrated. A cloudy pixel differs from a clear one in its optical thickness only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from granules import geodesy
from numpy.typing import NDArray

from simulation.orbit import Pass

Plane = NDArray[np.float32]
Vectors = NDArray[np.float64]

STEP_KM = 1.0
MARGIN_KM = 110.0
LAPSE_K_PER_KM = 6.5  # K per km
VAPOR_SCALE_KM = 2.2
CONTINENTS_SEED = 20130102  # any number: all granules must share the continents
LOW, HIGH, TEXTURE, FREEZING = "low", "high", "texture", "freezing"
# Outer scale (km) and slope of the power spectrum of each field.
FIELD_SPECTRA = {LOW: (250.0, 3.3), HIGH: (500.0, 3.3), TEXTURE: (400.0, 3.3), FREEZING: (300.0, 3.3)}


@dataclass(frozen=True)
class Climate:
    """Parameters of a granule's atmosphere.

    ``low_cover``, ``high_cover``: fraction of the area under each deck; ``depth_km``: spread of the low deck's tops;
    ``log_spread``: of the logarithm of optical thickness; ``wind_km_min``: at the low deck.
    """

    low_cover: float
    high_cover: float
    depth_km: float
    log_spread: float
    wind_km_min: float
    day_of_year: int


@dataclass(frozen=True)
class TrackFrame:
    """Along-track and across-track coordinates.

    Unit vectors to the middle of the track, ahead and to the right; corner of the grid.
    """

    middle: Vectors
    ahead: Vectors
    right: Vectors
    corner_km: tuple[float, float]
    shape: tuple[int, int]

    def coordinates_km(self, ground: Vectors) -> tuple[Vectors, Vectors]:
        """Return kilometers ahead and to the right of unit vectors."""
        ahead = np.arctan2(ground @ self.ahead, ground @ self.middle) * geodesy.EARTH_KM
        return ahead, np.arcsin(np.clip(ground @ self.right, -1.0, 1.0)) * geodesy.EARTH_KM


def track_frame(flight: Pass, corners: Vectors) -> TrackFrame:
    """Return the frame of a pass that covers ``corners`` with a margin."""
    position, ahead = (vectors[0] for vectors in flight.state(np.array([flight.middle_s])))
    unbounded = TrackFrame(position, ahead, np.cross(ahead, position), (0.0, 0.0), (0, 0))
    edges = [(km.min() - MARGIN_KM, km.max() + MARGIN_KM) for km in unbounded.coordinates_km(corners)]
    shape = tuple(int((high - low) / STEP_KM) + 2 for low, high in edges)
    return TrackFrame(
        unbounded.middle, unbounded.ahead, unbounded.right, (edges[0][0], edges[1][0]), (shape[0], shape[1])
    )


@dataclass(frozen=True)
class AtmosphereFields:
    """Fields of one granule on its grid; cloud exists where a field exceeds its threshold."""

    frame: TrackFrame
    climate: Climate
    fields: dict[str, Plane]
    thresholds: dict[str, float]


@dataclass(frozen=True)
class AtmosphereSample:
    """The atmosphere at some points: optical thickness, top (km), temperature (K) and phase of both decks; surface."""

    low_tau: Plane
    low_top_km: Plane
    low_k: Plane
    low_ice: NDArray[np.bool_]
    high_tau: Plane
    high_top_km: Plane
    high_k: Plane
    texture: Plane
    surface: Surface


@dataclass(frozen=True)
class Surface:
    """Surface at some points: land fractions (0 to 1), temperature of skin and of air (K), and water vapor (cm).

    The sun heats the skin, not the air.
    """

    land: Plane
    desert: Plane
    snow: Plane
    skin_k: Plane
    air_k: Plane
    vapor_cm: Plane


def draw_fields(flight: Pass, corners: Vectors, climate: Climate, rng: np.random.Generator) -> AtmosphereFields:
    """Draw the fields of a granule."""
    grid_frame = track_frame(flight, corners)
    fields = {name: fractal_field(grid_frame.shape, rng, *FIELD_SPECTRA[name]) for name in FIELD_SPECTRA}
    shares = {LOW: climate.low_cover, HIGH: climate.high_cover}
    # Quantiles of a subsample are accurate enough and much faster.
    sample = {name: fields[name][::7, ::7] for name in shares}
    thresholds = {name: float(np.quantile(sample[name], 1.0 - share)) for name, share in shares.items()}
    return AtmosphereFields(grid_frame, climate, fields, thresholds)


def fractal_field(shape: tuple[int, int], rng: np.random.Generator, outer_km: float, slope: float) -> Plane:
    """Return a Gaussian field of unit variance with power k^-slope below an outer scale."""
    from scipy import fft

    size = tuple(fft.next_fast_len(side, real=True) for side in shape)
    noise = fft.rfft2(rng.standard_normal(size, dtype=np.float32))
    k = np.hypot(fft.fftfreq(size[0], STEP_KM)[:, None], fft.rfftfreq(size[1], STEP_KM)[None, :]).astype(np.float32)
    noise *= (k * k + np.float32(1.0 / outer_km**2)) ** np.float32(-slope / 4.0)
    # The mean carries no structure.
    noise[0, 0] = 0.0
    field = fft.irfft2(noise, s=size)[: shape[0], : shape[1]]
    return np.asarray(field / field.std(), np.float32)


def interpolate(fields: AtmosphereFields, name: str, ahead: Vectors, right: Vectors) -> Plane:
    """Return a field at positions of its grid (km), linearly interpolated; clamped to the edge beyond the grid."""
    field, corner = fields.fields[name], fields.frame.corner_km
    u = np.clip((ahead - corner[0]) / STEP_KM, 0.0, field.shape[0] - 1.001).astype(np.float32)
    v = np.clip((right - corner[1]) / STEP_KM, 0.0, field.shape[1] - 1.001).astype(np.float32)
    i, j = u.astype(np.int32), v.astype(np.int32)
    du, dv = u - i, v - j
    flat, start = field.reshape(-1), i.astype(np.int64) * field.shape[1] + j
    below = flat[start] * (1 - dv) + flat[start + 1] * dv
    above = flat[start + field.shape[1]] * (1 - dv) + flat[start + field.shape[1] + 1] * dv
    return np.asarray(below * (1 - du) + above * du, np.float32)


@dataclass(frozen=True)
class LinesOfSight:
    """Lines of sight: unit vectors to the ground, slope of the view to the right (tan), minutes since the middle."""

    ground: Vectors
    slope: Vectors
    minutes: float


def sample_atmosphere(fields: AtmosphereFields, sights: LinesOfSight, sun_cosine: Plane) -> AtmosphereSample:
    """Return the atmosphere along some lines of sight."""
    climate = fields.climate
    ahead, right = fields.frame.coordinates_km(sights.ground)
    # Minutes are relative to the middle of the granule, for the track as well.
    drift = climate.wind_km_min * sights.minutes
    ground = surface_at(sights.ground, climate, sun_cosine)
    # 16.5 km at the equator, 8.5 km at the poles.
    tropopause = 8.5 + 8.0 * np.exp(-((np.degrees(np.arcsin(sights.ground[..., 2])) / 34.0) ** 2))
    # Each deck is sampled where the line of sight crosses its typical height: 2 km, and 0.75 of the tropopause.
    low_right = right + 2.0 * sights.slope - drift
    low = interpolate(fields, LOW, ahead, low_right)
    texture = interpolate(fields, TEXTURE, ahead, low_right)
    excess = np.maximum(low - fields.thresholds[LOW], 0.0)
    low_tau = np.minimum(2.2 * (np.exp(climate.log_spread * excess) - 1.0), 90.0)
    tower = np.clip((excess - 1.0) / 0.9, 0.0, 1.0)
    low_top = np.clip(1.7 + climate.depth_km * (0.55 * texture + 0.4 + 0.5 * excess), 0.4, 7.5)
    low_top = low_top + tower * np.maximum(tropopause - 1.0 - low_top, 0.0) * (climate.depth_km > 1.4)
    high_right = right + 0.75 * tropopause * sights.slope - 2.5 * drift
    high = interpolate(fields, HIGH, ahead, high_right)
    high_tau = np.minimum(0.32 * (np.exp(1.5 * np.maximum(high - fields.thresholds[HIGH], 0.0)) - 1.0), 40.0)
    high_top = np.maximum(tropopause - 2.2 + 1.1 * interpolate(fields, TEXTURE, ahead, high_right), 5.0)
    low_kelvin = air_temperature(ground, low_top, tropopause)
    frozen = (273.0 - low_kelvin) / 35.0 > 0.62 + 0.30 * interpolate(fields, FREEZING, ahead, low_right)
    planes = [low_tau, low_top, low_kelvin, high_tau, high_top, air_temperature(ground, high_top, tropopause), texture]
    single = [np.asarray(plane, np.float32) for plane in planes]
    ice = (frozen & (low_kelvin < 271.0)) | (low_kelvin < 235.0)
    return AtmosphereSample(single[0], single[1], single[2], ice, single[3], single[4], single[5], single[6], ground)


def air_temperature(ground: Surface, height: Plane, tropopause: Vectors) -> Plane:
    """Return the air temperature (K) at a height (km)."""
    return np.asarray(ground.air_k - LAPSE_K_PER_KM * np.minimum(height, tropopause), np.float32)


def surface_at(ground: Vectors, climate: Climate, sun_cosine: Plane) -> Surface:
    """Return the surface at unit vectors."""
    height = land_height(ground)
    latitude = np.degrees(np.arcsin(np.clip(ground[..., 2], -1.0, 1.0)))
    # The transition at a coast is a few kilometers wide, so that coastal pixels are mixed.
    land = np.clip(0.5 + 12.0 * (height - 0.35), 0.0, 1.0)
    north_winter = np.cos(2.0 * np.pi * climate.day_of_year / 365.25)
    # The snow line moves by 9 degrees of latitude with the season.
    cold = np.abs(latitude) + 9.0 * np.sign(latitude) * north_winter
    air = 301.0 - 60.0 * np.clip(np.abs(latitude + 6.0 * north_winter) / 90.0, 0.0, 1.0) ** 1.6 - 2.0 * land
    skin = air + land * (11.0 * np.clip(sun_cosine, 0.0, 1.0) - 3.0)
    subtropical = np.exp(-(((np.abs(latitude) - 24.0) / 9.0) ** 2))
    desert = np.clip(2.0 * subtropical - 0.6, 0.0, 1.0) * land
    snow = np.where(land > 0.5, np.clip((cold - 55.0) / 5.0, 0.0, 1.0), np.clip((cold - 71.0) / 4.0, 0.0, 1.0))
    vapor = (0.2 + 4.6 * np.exp(-((latitude / 32.0) ** 2))) * (1.0 - 0.5 * desert)
    planes = [np.asarray(plane, np.float32) for plane in (land, desert, snow, skin, air, vapor)]
    return Surface(*planes)


def land_height(ground: Vectors) -> Plane:
    """Return the height of the land, in standard deviations: a sum of plane waves restricted to the sphere."""
    rng = np.random.default_rng(CONTINENTS_SEED)
    total = np.zeros(ground.shape[:-1], np.float32)
    for octave in (2.0, 4.0, 8.0, 16.0, 40.0):
        for _ in range(4):
            wave_vector = rng.standard_normal(3)
            wave_vector *= octave / np.linalg.norm(wave_vector)
            total += np.cos(ground @ wave_vector + rng.uniform(0.0, 2.0 * np.pi)).astype(np.float32) / np.float32(
                octave**0.7
            )
    return total
