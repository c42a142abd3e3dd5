"""What a lidar and a radiometer see of synthetic columns, and what is in them.

- **Lidar.** Layer-integrated attenuated backscatter (1 - exp(-2 eta tau)) / (2 eta S) (Platt 1973, J. Atmos. Sci. 30,
  1191) with lidar ratios of about 19 sr for water (O'Connor et al. 2004, J. Atmos. Oceanic Technol. 21, 777) and 28 sr
  for ice (Young et al. 2018, Atmos. Meas. Tech. 11, 5701); opaque at optical thickness 3. Thin layers are found in
  averages over 5 km only; a phase is sometimes wrong, more often in thin cloud (Hu et al. 2009, J. Atmos. Oceanic
  Technol. 26, 2293).
- **Radiometer.** Clouds reflect (1 - g) tau / (2 + (1 - g) tau) (Bohren 1987, Am. J. Phys. 55, 524), darkened where
  they absorb by King's relation (1987, J. Atmos. Sci. 44, 1734); Rayleigh scattering, haze, vapour, which at 1.38 um
  hides what lies low (Gao et al. 1993, J. Atmos. Sci. 50, 3814); Planck's function of surface and decks. It looks
  aslant: a deck is seen displaced by its height times the tangent of the viewing angle, and nothing corrects for
  that.
- **Labels.** The classes of the published pre-processing, of what is in the column as far as the beam reaches, so that
  the lidar's own errors count, too.

Plausible, not calibrated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from adaptation.variable_names import ANGLES, BANDS
from numpy.typing import NDArray

from generators.synthetic_cross_sections import LAPSE, Granule, Line, Scene, moved

UM = np.array(
    [0.412, 0.445, 0.488, 0.555, 0.672, 0.746, 0.865, 1.24, 1.378, 1.61, 2.25, 3.7, 4.05, 8.55, 10.763, 12.013]
)
SHORT, LONG = UM[:11], UM[11:]
# Imaginary refractive index from 1.24 um on (Hale and Querry 1973; Warren and Brandt 2008; rounded).
INDEX = {"water": [1.1e-5, 5e-5, 8.5e-5, 3.6e-4, 3.6e-3, 4.6e-3], "ice": [1.2e-5, 2e-5, 2.7e-4, 2.2e-4, 7e-3, 1e-2]}
# Absorption by vapour (per cm and air mass), and of clouds over their visible optical thickness.
VAPOUR = np.array([0, 0, 0, 0, 0.006, 0.02, 0.004, 0.02, 3.2, 0.006, 0.02])
LONG_VAPOUR = np.array([0.03, 0.03, 0.13, 0.075, 0.12])
LONG_CLOUD = {"water": np.array([0.25, 0.25, 0.47, 0.45, 0.57]), "ice": np.array([0.38, 0.36, 0.45, 0.52, 0.58])}
SUNSHINE = np.array([11.5, 8.1, 0.0, 0.0, 0.0])  # W m-2 um-1 at the top of the air
NOISE_KELVIN = np.array([0.35, 0.4, 0.09, 0.07, 0.07])
OPAQUE = 3.0
HAZY = 0.25  # optical thickness from which haze is a layer
SCALE_KM = 2.2  # of vapour
ASYMMETRY = 0.85


# ---------------------------------------------------------------- the lidar


def labels(scene: Scene, count: int) -> NDArray[np.int64]:
    """The number of each column's class, from 1 (see :data:`adaptation.variable_names.CLASSES`)."""
    low, high, haze, frozen = (moved(line, 0, count) for line in (scene.low, scene.high, scene.haze, scene.frozen))
    cirrus, deck = high > 0.05, (low > 0.1) & (high < OPAQUE)
    aerosol = (haze > HAZY) & (np.where(deck, low, 0) + high < 1)
    liquid, ice = deck & ~frozen, cirrus | (deck & frozen)
    cloud = liquid | ice
    cases = [aerosol & cloud, aerosol, liquid & ice, ice, liquid]
    return np.select(cases, [6, 5, 4, 3, 2], 1)


def lidar(granule: Granule, scene: Scene, count: int, rng: np.random.Generator) -> dict[str, Line]:
    """The 25 features without their prefix; 0 where there is no layer, as published collocations have it."""
    tau = np.stack([moved(scene.high, 0, count), moved(scene.low, 0, count)])
    top = np.stack([moved(scene.high_top, 0, count), moved(scene.low_top, 0, count)])
    ice = np.stack([np.ones(count, bool), moved(scene.frozen, 0, count)])
    ice ^= rng.random(ice.shape) < np.where(tau < 0.5, 0.12, 0.04)
    reached = np.stack([np.ones(count, bool), tau[0] < OPAQUE])
    fine = reached & (tau > 0.25 * np.exp(0.4 * rng.standard_normal(tau.shape)))
    coarse = reached & (fives(tau) > 0.06 * np.exp(0.3 * rng.standard_normal(tau.shape)))
    seen = fine | coarse
    ratio, eta = np.where(ice, 28.0, 19.0), np.where(ice, 0.65, 0.45)
    through = np.stack([np.ones(count), np.exp(-2 * 0.65 * tau[0])])
    green = through * -np.expm1(-2 * eta * tau) / (2 * eta * ratio) * spread(rng, tau.shape, 0.15)
    colour = np.where(ice, 0.98, 1.05) * spread(rng, tau.shape, 0.2)
    base = np.maximum(top - 0.25 - 0.8 * np.log1p(tau) * spread(rng, tau.shape, 0.3), 0.1)
    layers = {
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": granule.air - 273.15 - LAPSE * top,
        "Base_Temperature": granule.air - 273.15 - LAPSE * base,
        "Optical_Depth_532": np.minimum(tau, OPAQUE) * spread(rng, tau.shape, 0.25),
        "Opacity_Flag": tau > OPAQUE,
        "Integrated_Attenuated_Backscatter_532": green,
        "Integrated_Attenuated_Backscatter_1064": green * colour,
        "Final_Lidar_Ratio_532": ratio * spread(rng, tau.shape, 0.12),
        "Color_Ratio": colour,
    }
    found: dict[str, Line] = {f"Clay_{name}": mean(values, seen) for name, values in layers.items()}
    for name, mask in (("1km", fine), ("5km", coarse)):
        found[f"N_Clay_{name}"] = mask.sum(axis=0).astype(float)
        found[f"Liq_Fraction_{name}"], found[f"Ice_Fraction_{name}"] = mean(~ice, mask), mean(ice, mask)
    return found | hazy(granule, scene, np.where(reached, tau, 0).sum(axis=0), rng)


def hazy(granule: Granule, scene: Scene, above: Line, rng: np.random.Generator) -> dict[str, Line]:
    """The features of the aerosol layer; the beam must get there through the clouds (``above``: optical thickness)."""
    count = len(above)
    tau, top = moved(scene.haze, 0, count), moved(scene.haze_top, 0, count)
    seen = (fives(tau) > HAZY * spread(rng, (count,), 0.15)) & (above < spread(rng, (count,), 0.2))
    green = np.exp(-above) * -np.expm1(-2 * tau) / (2 * 44.0) * spread(rng, (count,), 0.25)
    colour = (0.75 if granule.dust else 0.45) * spread(rng, (count,), 0.25)
    base = np.maximum(top - 1.2, 0.05)
    values: dict[str, Any] = {
        "Aerosol_Type_Mode": 2.0 if granule.dust else 1.0,
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": granule.air - 273.15 - LAPSE * top,
        "Base_Temperature": granule.air - 273.15 - LAPSE * base,
        "Integrated_Attenuated_Backscatter_532": green,
        "Integrated_Attenuated_Backscatter_1064": green * colour,
        "Color_Ratio": colour,
        "Optical_Depth_532": tau * spread(rng, (count,), 0.25),
    }
    return {f"Alay_{name}": np.where(seen, value, 0.0) for name, value in values.items()}


def fives(lines: Line) -> Line:
    """Means over five columns, for each of the five."""
    places = np.arange(lines.shape[-1]) // 5 * 5
    return np.asarray(np.add.reduceat(lines, np.unique(places), axis=-1)[..., places // 5] / 5)


def mean(values: NDArray[Any], mask: NDArray[np.bool_]) -> Line:
    """Mean over a column's layers, 0 where there is none."""
    return np.asarray(np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1))


def spread(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Line:
    """Factors around 1."""
    return np.asarray(np.exp(width * rng.standard_normal(shape)))


# ---------------------------------------------------------------- the radiometer


def radiometer(granule: Granule, scene: Scene, count: int, rng: np.random.Generator) -> dict[str, Line]:
    """The 20 features: angles (degrees), reflectances of M01 to M11, brightness temperatures (K) of M12 to M16."""
    drift, slope = rng.uniform(-3, 3), np.tan(np.radians(granule.view))
    down, up = (max(np.cos(np.radians(angle)), 0.2) for angle in (granule.sun, granule.view))
    decks = []
    for tau, top in ((scene.low, scene.low_top), (scene.high, scene.high_top)):
        away = drift + slope * float(top.mean())
        ice = moved(scene.frozen, away, count) if tau is scene.low else np.ones(count, bool)
        # A pixel is never filled evenly: clouds look thinner, or thicker, than their mean.
        decks.append((moved(tau, away, count) * spread(rng, (count,), 0.2), moved(top, away, count), ice))
    ground = [moved(line, drift, count) for line in (scene.albedo, scene.skin, scene.haze)]
    bright = reflected(granule, decks, ground, (down, up)) * spread(rng, (count, 1), 0.03)
    warm = emitted(granule, decks, ground, (down, up)) + NOISE_KELVIN * rng.standard_normal((count, 5))
    bright = bright * spread(rng, bright.shape, 0.01) + 2e-4 * np.abs(rng.standard_normal(bright.shape))
    angles = (granule.sun, granule.azimuths[0], granule.view, granule.azimuths[1])
    wander = np.linspace(-1.5, 1.5, count)
    found = {name: np.asarray(angle + wander) for name, angle in zip(ANGLES, angles, strict=True)}
    found["VIIRS_VZA"] = np.abs(found["VIIRS_VZA"])
    return found | dict(zip(BANDS, np.concatenate([bright, warm], axis=1).T, strict=True))


def darkening(ice: NDArray[np.bool_]) -> Line:
    """By which clouds are darker for absorbing, (columns, 13): M01 to M13."""
    index = np.where(ice[:, None], INDEX["ice"], INDEX["water"])
    loss = np.clip(0.85 * 4 * np.pi * index / UM[7:13] * np.where(ice, 28.0, 11.0)[:, None], 0, 0.45)
    s = np.sqrt(loss / (1 - (1 - loss) * ASYMMETRY))
    return np.concatenate([np.ones((len(ice), 7)), (1 - s) * (1 - 0.139 * s) / (1 + 1.17 * s)], axis=1)


def reflected(granule: Granule, decks: list[Any], ground: list[Line], cosines: tuple[float, float]) -> Line:
    """Reflectances, (columns, 11)."""
    down, up = cosines
    mass = 1 / down + 1 / up
    seen = ground[0] * np.exp(-VAPOUR * mass * granule.vapour)
    haze = ground[2][:, None] * (0.55 / SHORT) ** (0.3 if granule.dust else 1.3)
    air = 0.00864 * SHORT**-4.0
    veil = (0.75 * air + 0.12 * haze) / (4 * down * up) * (SHORT != 1.378)
    seen = veil + seen * np.exp(-0.5 * (air + 0.25 * haze) * mass)
    for tau, top, ice in decks:
        thick = (1 - ASYMMETRY) * tau
        white = (thick / (2 * down + thick))[:, None]
        gas = np.exp(-VAPOUR * mass * granule.vapour * np.exp(-top / SCALE_KM)[:, None])
        shining = white * darkening(ice)[:, :11] * gas
        seen = shining + (1 - white) ** 2 * seen / (1 - white * np.minimum(seen, 0.95))
    return np.asarray(np.clip(seen, 0, 1.6))


def emitted(granule: Granule, decks: list[Any], ground: list[Line], cosines: tuple[float, float]) -> Line:
    """Brightness temperatures, (columns, 5)."""
    down, up = cosines
    air = np.exp(-LONG_VAPOUR * granule.vapour / up)
    total = planck(ground[1][:, None]) * air + (1 - air) * planck(np.array(granule.air - 10.0))
    for tau, top, ice in decks:
        share = np.where(ice[:, None], LONG_CLOUD["ice"], LONG_CLOUD["water"])
        passed = np.exp(-share * tau[:, None] / up)
        total = total * passed + (1 - passed) * planck((granule.air - LAPSE * top)[:, None])
        thick = (1 - ASYMMETRY) * tau
        sunny = np.concatenate([darkening(ice)[:, 11:], np.zeros((len(tau), 3))], axis=1)
        total = total + (thick / (2 * down + thick))[:, None] * sunny * SUNSHINE * down / np.pi
    return np.asarray(14387.77 / LONG / np.log1p(1.191043e8 / LONG**5 / total))


def planck(kelvin: Line) -> Line:
    """Radiance of the thermal bands (W m-2 sr-1 um-1) at some temperatures (K), (.., 5)."""
    return np.asarray(1.191043e8 / LONG**5 / np.expm1(14387.77 / LONG / kelvin))
