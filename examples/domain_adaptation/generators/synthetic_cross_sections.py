"""Synthetic vertical cross-sections: surface, two cloud decks and haze along a line, as functions of position.

- **Fields.** Gaussian, power along a line falling as k^-2.3 up to an outer scale: in the plane, level sets of such a
  field have outlines of dimension 1.35, as clouds have from 1 to 1000 km (Lovejoy 1982, Science 216, 185). Optical
  thickness is an exponential of a field minus a threshold: lognormal-like, thin at every edge. Haze is lognormal
  (O'Neill et al. 2000, Geophys. Res. Lett. 27, 3333).
- **Phase of the low deck.** Water above 0 C, ice below -38 C, in between supercooled water becomes rarer with
  decreasing temperature (Hu et al. 2010, J. Geophys. Res. 115, D00H34).
- **Air.** Warm and moist toward the equator, 6.5 K per km up to a tropopause that is higher there.

Plausible, not calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Line = NDArray[np.float64]

# Surface albedo by reflective band: ocean, vegetation, desert, snow; typical values, rounded.
ALBEDO = np.array(
    [
        [0.030, 0.028, 0.025, 0.022, 0.020, 0.018, 0.016, 0.014, 0.012, 0.010, 0.008],
        [0.030, 0.032, 0.038, 0.075, 0.055, 0.250, 0.380, 0.360, 0.300, 0.210, 0.100],
        [0.120, 0.150, 0.190, 0.280, 0.370, 0.400, 0.430, 0.480, 0.480, 0.520, 0.480],
        [0.830, 0.830, 0.830, 0.820, 0.800, 0.770, 0.740, 0.460, 0.400, 0.110, 0.080],
    ]
)
MARGIN_COLUMNS = 40  # columns beyond both ends, for displaced observations
LAPSE_K_PER_KM = 6.5  # K per km


@dataclass(frozen=True)
class GranuleConditions:
    """Conditions of a granule: angles in degrees, fractions of area, indices into ALBEDO."""

    solar_zenith: float
    view_zenith: float
    azimuths: tuple[float, float]
    surface: tuple[int, int]
    air_k: float
    vapor_cm: float
    tropopause_km: float
    low_cover: float
    high_cover: float
    haze_tau: float
    dust: bool


@dataclass(frozen=True)
class CrossSection:
    """A line of columns: optical thickness and top of both decks and of haze, phase of the low deck, surface.

    Surface: skin temperature and albedo by band.
    """

    low_tau: Line
    low_top_km: Line
    low_is_ice: NDArray[np.bool_]
    high_tau: Line
    high_top_km: Line
    haze_tau: Line
    haze_top_km: Line
    skin_k: Line
    albedo: Line


def draw_conditions(rng: np.random.Generator) -> GranuleConditions:
    """Draw a daytime granule between 65 degrees south and north."""
    latitude = rng.uniform(-65, 65)
    tropical = np.cos(np.radians(latitude)) ** 2
    surface_types = rng.permutation([0, 0, 0, 1, 2] if abs(latitude) < 50 else [0, 0, 1, 3])[:2]
    return GranuleConditions(
        solar_zenith=float(np.clip(abs(latitude) + rng.uniform(-20, 15), 10, 76)),
        view_zenith=rng.uniform(0, 35),
        azimuths=(rng.uniform(-180, 180), rng.uniform(-180, 180)),
        surface=(int(surface_types[0]), int(surface_types[1])),
        air_k=262 + 38 * tropical + rng.uniform(-4, 4),
        vapor_cm=0.4 + 4.2 * tropical * rng.uniform(0.6, 1.2),
        tropopause_km=8.5 + 8 * tropical,
        low_cover=rng.uniform(0.25, 0.6),
        high_cover=rng.uniform(0.2, 0.5),
        haze_tau=rng.uniform(0.08, 0.25),
        dust=bool(2 in surface_types),
    )


def fractal_line(count: int, rng: np.random.Generator, outer_km: float) -> Line:
    """Return a Gaussian field along a line of 1 km steps, mean 0, variance 1."""
    # Twice the length is generated and half is used, because the transform makes lines periodic.
    k = np.fft.rfftfreq(2 * count)
    power = (k**2 + outer_km**-2.0) ** (-2.3 / 4)
    # The mean carries no structure.
    power[0] = 0
    line = np.fft.irfft(np.fft.rfft(rng.standard_normal(2 * count)) * power)[:count]
    return np.asarray((line - line.mean()) / line.std())


def simulate_cross_section(conditions: GranuleConditions, count: int, rng: np.random.Generator) -> CrossSection:
    """Return the columns of a granule, with margins."""
    count += 2 * MARGIN_COLUMNS
    low, high, texture, cold, haze, coast = (fractal_line(count, rng, km) for km in (120, 250, 200, 150, 300, 500))
    decks = ((low, conditions.low_cover), (high, conditions.high_cover))
    excess = [np.maximum(deck - np.quantile(deck, 1 - share), 0) for deck, share in decks]
    low_top = np.clip(1.6 + 1.3 * texture + 1.4 * excess[0], 0.4, conditions.tropopause_km - 1)
    low_k = conditions.air_k - LAPSE_K_PER_KM * low_top
    frozen = ((273 - low_k) / 35 > 0.55 + 0.3 * cold) & (low_k < 271) | (low_k < 235)
    share = np.clip(0.5 + 6 * coast, 0, 1)[:, None]
    first, second = (ALBEDO[kind] for kind in conditions.surface)
    varied = np.exp(0.12 * fractal_line(count, rng, 60))[:, None]
    land = np.array(conditions.surface) > 0
    skin_heating = (share[:, 0] * land[0] + (1 - share[:, 0]) * land[1]) * (
        9 * np.cos(np.radians(conditions.solar_zenith)) - 3
    )
    return CrossSection(
        low_tau=np.minimum(2.2 * np.expm1(1.4 * excess[0]), 90),
        low_top_km=low_top,
        low_is_ice=frozen,
        high_tau=np.minimum(0.32 * np.expm1(1.5 * excess[1]), 40),
        # The top of the upper deck stays above that of the lower one.
        high_top_km=np.maximum(conditions.tropopause_km - 2.2 + 1.1 * texture, low_top + 0.8),
        haze_tau=conditions.haze_tau * np.exp(0.9 * haze),
        haze_top_km=np.clip((3.5 if conditions.dust else 1.8) + 0.6 * texture, 0.5, 6),
        skin_k=conditions.air_k + skin_heating + 1.5 * fractal_line(count, rng, 60),
        albedo=np.clip((share * first + (1 - share) * second) * varied, 0, 0.95),
    )


def shift_line(line: NDArray[Any], km: float, count: int) -> NDArray[Any]:
    """Return a line without its margins, displaced by some kilometers."""
    start = MARGIN_COLUMNS + int(np.clip(round(km), -MARGIN_COLUMNS, MARGIN_COLUMNS))
    return line[start : start + count]
