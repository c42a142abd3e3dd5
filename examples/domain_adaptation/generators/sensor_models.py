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

from generators.synthetic_cross_sections import LAPSE_K_PER_KM, CrossSection, GranuleConditions, Line, shift_line

WAVELENGTHS_UM = np.array(
    [0.412, 0.445, 0.488, 0.555, 0.672, 0.746, 0.865, 1.24, 1.378, 1.61, 2.25, 3.7, 4.05, 8.55, 10.763, 12.013]
)
SHORT_UM, LONG_UM = WAVELENGTHS_UM[:11], WAVELENGTHS_UM[11:]
# Imaginary refractive index from 1.24 um on (Hale and Querry 1973; Warren and Brandt 2008; rounded).
IMAGINARY_INDEX = {
    "water": [1.1e-5, 5e-5, 8.5e-5, 3.6e-4, 3.6e-3, 4.6e-3],
    "ice": [1.2e-5, 2e-5, 2.7e-4, 2.2e-4, 7e-3, 1e-2],
}
# Absorption by vapour (per cm and air mass), and of clouds over their visible optical thickness.
VAPOR_ABSORPTION = np.array([0, 0, 0, 0, 0.006, 0.02, 0.004, 0.02, 3.2, 0.006, 0.02])
LONG_VAPOR_ABSORPTION = np.array([0.03, 0.03, 0.13, 0.075, 0.12])
LONG_CLOUD_ABSORPTION = {
    "water": np.array([0.25, 0.25, 0.47, 0.45, 0.57]),
    "ice": np.array([0.38, 0.36, 0.45, 0.52, 0.58]),
}
SUNSHINE = np.array([11.5, 8.1, 0.0, 0.0, 0.0])  # W m-2 um-1 at the top of the air
NOISE_KELVIN = np.array([0.35, 0.4, 0.09, 0.07, 0.07])
OPAQUE = 3.0
HAZY = 0.25  # optical thickness from which haze is a layer
SCALE_KM = 2.2  # of vapour
ASYMMETRY = 0.85


# ---------------------------------------------------------------- the lidar


def column_labels(scene: CrossSection, count: int) -> NDArray[np.int64]:
    """The number of each column's class, from 1 (see :data:`adaptation.variable_names.CLASSES`)."""
    low, high, haze, frozen = (
        shift_line(line, 0, count) for line in (scene.low_tau, scene.high_tau, scene.haze_tau, scene.low_is_ice)
    )
    cirrus, deck = high > 0.05, (low > 0.1) & (high < OPAQUE)
    aerosol = (haze > HAZY) & (np.where(deck, low, 0) + high < 1)
    liquid, ice = deck & ~frozen, cirrus | (deck & frozen)
    cloud = liquid | ice
    cases = [aerosol & cloud, aerosol, liquid & ice, ice, liquid]
    return np.select(cases, [6, 5, 4, 3, 2], 1)


def lidar_features(
    granule: GranuleConditions, scene: CrossSection, count: int, rng: np.random.Generator
) -> dict[str, Line]:
    """The 25 features without their prefix; 0 where there is no layer, as published collocations have it."""
    tau = np.stack([shift_line(scene.high_tau, 0, count), shift_line(scene.low_tau, 0, count)])
    top = np.stack([shift_line(scene.high_top_km, 0, count), shift_line(scene.low_top_km, 0, count)])
    ice = np.stack([np.ones(count, bool), shift_line(scene.low_is_ice, 0, count)])
    ice ^= rng.random(ice.shape) < np.where(tau < 0.5, 0.12, 0.04)
    reached = np.stack([np.ones(count, bool), tau[0] < OPAQUE])
    fine = reached & (tau > 0.25 * np.exp(0.4 * rng.standard_normal(tau.shape)))
    coarse = reached & (five_column_mean(tau) > 0.06 * np.exp(0.3 * rng.standard_normal(tau.shape)))
    seen = fine | coarse
    ratio, eta = np.where(ice, 28.0, 19.0), np.where(ice, 0.65, 0.45)
    through = np.stack([np.ones(count), np.exp(-2 * 0.65 * tau[0])])
    green = through * -np.expm1(-2 * eta * tau) / (2 * eta * ratio) * lognormal_factors(rng, tau.shape, 0.15)
    colour = np.where(ice, 0.98, 1.05) * lognormal_factors(rng, tau.shape, 0.2)
    base = np.maximum(top - 0.25 - 0.8 * np.log1p(tau) * lognormal_factors(rng, tau.shape, 0.3), 0.1)
    layers = {
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": granule.air_k - 273.15 - LAPSE_K_PER_KM * top,
        "Base_Temperature": granule.air_k - 273.15 - LAPSE_K_PER_KM * base,
        "Optical_Depth_532": np.minimum(tau, OPAQUE) * lognormal_factors(rng, tau.shape, 0.25),
        "Opacity_Flag": tau > OPAQUE,
        "Integrated_Attenuated_Backscatter_532": green,
        "Integrated_Attenuated_Backscatter_1064": green * colour,
        "Final_Lidar_Ratio_532": ratio * lognormal_factors(rng, tau.shape, 0.12),
        "Color_Ratio": colour,
    }
    found: dict[str, Line] = {f"Clay_{name}": layer_mean(values, seen) for name, values in layers.items()}
    for name, mask in (("1km", fine), ("5km", coarse)):
        found[f"N_Clay_{name}"] = mask.sum(axis=0).astype(float)
        found[f"Liq_Fraction_{name}"], found[f"Ice_Fraction_{name}"] = layer_mean(~ice, mask), layer_mean(ice, mask)
    return found | aerosol_features(granule, scene, np.where(reached, tau, 0).sum(axis=0), rng)


def aerosol_features(
    granule: GranuleConditions, scene: CrossSection, above: Line, rng: np.random.Generator
) -> dict[str, Line]:
    """The features of the aerosol layer; the beam must get there through the clouds (``above``: optical thickness)."""
    count = len(above)
    tau, top = shift_line(scene.haze_tau, 0, count), shift_line(scene.haze_top_km, 0, count)
    seen = (five_column_mean(tau) > HAZY * lognormal_factors(rng, (count,), 0.15)) & (
        above < lognormal_factors(rng, (count,), 0.2)
    )
    green = np.exp(-above) * -np.expm1(-2 * tau) / (2 * 44.0) * lognormal_factors(rng, (count,), 0.25)
    colour = (0.75 if granule.dust else 0.45) * lognormal_factors(rng, (count,), 0.25)
    base = np.maximum(top - 1.2, 0.05)
    values: dict[str, Any] = {
        "Aerosol_Type_Mode": 2.0 if granule.dust else 1.0,
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": granule.air_k - 273.15 - LAPSE_K_PER_KM * top,
        "Base_Temperature": granule.air_k - 273.15 - LAPSE_K_PER_KM * base,
        "Integrated_Attenuated_Backscatter_532": green,
        "Integrated_Attenuated_Backscatter_1064": green * colour,
        "Color_Ratio": colour,
        "Optical_Depth_532": tau * lognormal_factors(rng, (count,), 0.25),
    }
    return {f"Alay_{name}": np.where(seen, value, 0.0) for name, value in values.items()}


def five_column_mean(lines: Line) -> Line:
    """Means over five columns, for each of the five."""
    places = np.arange(lines.shape[-1]) // 5 * 5
    return np.asarray(np.add.reduceat(lines, np.unique(places), axis=-1)[..., places // 5] / 5)


def layer_mean(values: NDArray[Any], mask: NDArray[np.bool_]) -> Line:
    """Mean over a column's layers, 0 where there is none."""
    return np.asarray(np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1))


def lognormal_factors(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Line:
    """Factors around 1."""
    return np.asarray(np.exp(width * rng.standard_normal(shape)))


# ---------------------------------------------------------------- the radiometer


def radiometer_features(
    granule: GranuleConditions, scene: CrossSection, count: int, rng: np.random.Generator
) -> dict[str, Line]:
    """The 20 features: angles (degrees), reflectances of M01 to M11, brightness temperatures (K) of M12 to M16."""
    drift, slope = rng.uniform(-3, 3), np.tan(np.radians(granule.view_zenith))
    down, up = (max(np.cos(np.radians(angle)), 0.2) for angle in (granule.solar_zenith, granule.view_zenith))
    decks = []
    for tau, top in ((scene.low_tau, scene.low_top_km), (scene.high_tau, scene.high_top_km)):
        away = drift + slope * float(top.mean())
        ice = shift_line(scene.low_is_ice, away, count) if tau is scene.low_tau else np.ones(count, bool)
        # A pixel is never filled evenly: clouds look thinner, or thicker, than their mean.
        decks.append(
            (shift_line(tau, away, count) * lognormal_factors(rng, (count,), 0.2), shift_line(top, away, count), ice)
        )
    ground = [shift_line(line, drift, count) for line in (scene.albedo, scene.skin_k, scene.haze_tau)]
    bright = reflectances(granule, decks, ground, (down, up)) * lognormal_factors(rng, (count, 1), 0.03)
    warm = brightness_temperatures(granule, decks, ground, (down, up)) + NOISE_KELVIN * rng.standard_normal((count, 5))
    bright = bright * lognormal_factors(rng, bright.shape, 0.01) + 2e-4 * np.abs(rng.standard_normal(bright.shape))
    angles = (granule.solar_zenith, granule.azimuths[0], granule.view_zenith, granule.azimuths[1])
    wander = np.linspace(-1.5, 1.5, count)
    found = {name: np.asarray(angle + wander) for name, angle in zip(ANGLES, angles, strict=True)}
    found["VIIRS_VZA"] = np.abs(found["VIIRS_VZA"])
    return found | dict(zip(BANDS, np.concatenate([bright, warm], axis=1).T, strict=True))


def absorption_factor(ice: NDArray[np.bool_]) -> Line:
    """By which clouds are darker for absorbing, (columns, 13): M01 to M13."""
    index = np.where(ice[:, None], IMAGINARY_INDEX["ice"], IMAGINARY_INDEX["water"])
    loss = np.clip(0.85 * 4 * np.pi * index / WAVELENGTHS_UM[7:13] * np.where(ice, 28.0, 11.0)[:, None], 0, 0.45)
    s = np.sqrt(loss / (1 - (1 - loss) * ASYMMETRY))
    return np.concatenate([np.ones((len(ice), 7)), (1 - s) * (1 - 0.139 * s) / (1 + 1.17 * s)], axis=1)


def reflectances(
    granule: GranuleConditions, decks: list[Any], ground: list[Line], cosines: tuple[float, float]
) -> Line:
    """Reflectances, (columns, 11)."""
    down, up = cosines
    mass = 1 / down + 1 / up
    seen = ground[0] * np.exp(-VAPOR_ABSORPTION * mass * granule.vapor_cm)
    haze = ground[2][:, None] * (0.55 / SHORT_UM) ** (0.3 if granule.dust else 1.3)
    air = 0.00864 * SHORT_UM**-4.0
    veil = (0.75 * air + 0.12 * haze) / (4 * down * up) * (SHORT_UM != 1.378)
    seen = veil + seen * np.exp(-0.5 * (air + 0.25 * haze) * mass)
    for tau, top, ice in decks:
        thick = (1 - ASYMMETRY) * tau
        white = (thick / (2 * down + thick))[:, None]
        gas = np.exp(-VAPOR_ABSORPTION * mass * granule.vapor_cm * np.exp(-top / SCALE_KM)[:, None])
        shining = white * absorption_factor(ice)[:, :11] * gas
        seen = shining + (1 - white) ** 2 * seen / (1 - white * np.minimum(seen, 0.95))
    return np.asarray(np.clip(seen, 0, 1.6))


def brightness_temperatures(
    granule: GranuleConditions, decks: list[Any], ground: list[Line], cosines: tuple[float, float]
) -> Line:
    """Brightness temperatures, (columns, 5)."""
    down, up = cosines
    air = np.exp(-LONG_VAPOR_ABSORPTION * granule.vapor_cm / up)
    total = planck_radiance(ground[1][:, None]) * air + (1 - air) * planck_radiance(np.array(granule.air_k - 10.0))
    for tau, top, ice in decks:
        share = np.where(ice[:, None], LONG_CLOUD_ABSORPTION["ice"], LONG_CLOUD_ABSORPTION["water"])
        passed = np.exp(-share * tau[:, None] / up)
        total = total * passed + (1 - passed) * planck_radiance((granule.air_k - LAPSE_K_PER_KM * top)[:, None])
        thick = (1 - ASYMMETRY) * tau
        sunny = np.concatenate([absorption_factor(ice)[:, 11:], np.zeros((len(tau), 3))], axis=1)
        total = total + (thick / (2 * down + thick))[:, None] * sunny * SUNSHINE * down / np.pi
    return np.asarray(14387.77 / LONG_UM / np.log1p(1.191043e8 / LONG_UM**5 / total))


def planck_radiance(kelvin: Line) -> Line:
    """Radiance of the thermal bands (W m-2 sr-1 um-1) at some temperatures (K), (.., 5)."""
    return np.asarray(1.191043e8 / LONG_UM**5 / np.expm1(14387.77 / LONG_UM / kelvin))
