"""Measurements of synthetic columns by a lidar and a radiometer, and the labels of the columns.

- **Lidar.** Layer-integrated attenuated backscatter (1 - exp(-2 eta tau)) / (2 eta S) (Platt 1973, J. Atmos. Sci. 30,
  1191) with lidar ratios of about 19 sr for water (O'Connor et al. 2004, J. Atmos. Oceanic Technol. 21, 777) and 28 sr
  for ice (Young et al. 2018, Atmos. Meas. Tech. 11, 5701); opaque at optical thickness 3. Thin layers are detected only
  in averages over 5 km; the phase is sometimes wrong, more often in thin cloud (Hu et al. 2009, J. Atmos. Oceanic
  Technol. 26, 2293).
- **Radiometer.** Clouds reflect (1 - g) tau / (2 + (1 - g) tau) (Bohren 1987, Am. J. Phys. 55, 524), darkened by
  absorption according to King's relation (1987, J. Atmos. Sci. 44, 1734); Rayleigh scattering, haze, water vapor, which
  at 1.38 um masks everything at low altitude (Gao et al. 1993, J. Atmos. Sci. 50, 3814); Planck's function of surface
  and decks. It views at an angle: a deck is displaced by its height times the tangent of the viewing angle, which is
  not corrected.
- **Labels.** The classes of the published preprocessing, for the true content of the column as far as the beam
  penetrates, so that the lidar's own errors count, too.

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
# Absorption by water vapor (per cm and air mass), and ratio of absorption to visible optical thickness of clouds.
VAPOR_ABSORPTION = np.array([0, 0, 0, 0, 0.006, 0.02, 0.004, 0.02, 3.2, 0.006, 0.02])
LONG_VAPOR_ABSORPTION = np.array([0.03, 0.03, 0.13, 0.075, 0.12])
LONG_CLOUD_ABSORPTION = {
    "water": np.array([0.25, 0.25, 0.47, 0.45, 0.57]),
    "ice": np.array([0.38, 0.36, 0.45, 0.52, 0.58]),
}
SUNSHINE = np.array([11.5, 8.1, 0.0, 0.0, 0.0])  # W m-2 um-1 at the top of the air
NOISE_KELVIN = np.array([0.35, 0.4, 0.09, 0.07, 0.07])
OPAQUE = 3.0  # optical thickness beyond which the lidar detects nothing
HAZY = 0.25  # optical thickness above which haze is reported as a layer
SCALE_KM = 2.2  # scale height of water vapor
ASYMMETRY = 0.85


# ---------------------------------------------------------------- lidar


def column_labels(section: CrossSection, count: int) -> NDArray[np.int64]:
    """Return the class index of each column, from 1 (see :data:`adaptation.variable_names.CLASSES`)."""
    low, high, haze, frozen = (
        shift_line(values, 0, count)
        for values in (section.low_tau, section.high_tau, section.haze_tau, section.low_is_ice)
    )
    cirrus, deck = high > 0.05, (low > 0.1) & (high < OPAQUE)
    aerosol = (haze > HAZY) & (np.where(deck, low, 0) + high < 1)
    liquid, ice = deck & ~frozen, cirrus | (deck & frozen)
    cloud = liquid | ice
    # Evaluated in this order: mixed classes before their parts.
    cases = [aerosol & cloud, aerosol, liquid & ice, ice, liquid]
    return np.select(cases, [6, 5, 4, 3, 2], 1)


def lidar_features(
    conditions: GranuleConditions, section: CrossSection, count: int, rng: np.random.Generator
) -> dict[str, Line]:
    """Return the 25 features without their prefix; 0 where there is no layer, as in published collocations."""
    tau = np.stack([shift_line(section.high_tau, 0, count), shift_line(section.low_tau, 0, count)])
    top = np.stack([shift_line(section.high_top_km, 0, count), shift_line(section.low_top_km, 0, count)])
    ice = np.stack([np.ones(count, bool), shift_line(section.low_is_ice, 0, count)])
    # The lidar misclassifies the phase of 12 % of thin and 4 % of thicker layers.
    ice ^= rng.random(ice.shape) < np.where(tau < 0.5, 0.12, 0.04)
    # The upper deck attenuates the beam.
    reached = np.stack([np.ones(count, bool), tau[0] < OPAQUE])
    fine = reached & (tau > 0.25 * np.exp(0.4 * rng.standard_normal(tau.shape)))
    coarse = reached & (five_column_mean(tau) > 0.06 * np.exp(0.3 * rng.standard_normal(tau.shape)))
    detected = fine | coarse
    ratio, eta = np.where(ice, 28.0, 19.0), np.where(ice, 0.65, 0.45)
    transmission = np.stack([np.ones(count), np.exp(-2 * 0.65 * tau[0])])
    backscatter_532 = (
        transmission * -np.expm1(-2 * eta * tau) / (2 * eta * ratio) * lognormal_factors(rng, tau.shape, 0.15)
    )
    color_ratio = np.where(ice, 0.98, 1.05) * lognormal_factors(rng, tau.shape, 0.2)
    base = np.maximum(top - 0.25 - 0.8 * np.log1p(tau) * lognormal_factors(rng, tau.shape, 0.3), 0.1)
    layers = {
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": conditions.air_k - 273.15 - LAPSE_K_PER_KM * top,
        "Base_Temperature": conditions.air_k - 273.15 - LAPSE_K_PER_KM * base,
        "Optical_Depth_532": np.minimum(tau, OPAQUE) * lognormal_factors(rng, tau.shape, 0.25),
        "Opacity_Flag": tau > OPAQUE,
        "Integrated_Attenuated_Backscatter_532": backscatter_532,
        "Integrated_Attenuated_Backscatter_1064": backscatter_532 * color_ratio,
        "Final_Lidar_Ratio_532": ratio * lognormal_factors(rng, tau.shape, 0.12),
        "Color_Ratio": color_ratio,
    }
    features: dict[str, Line] = {f"Clay_{name}": layer_mean(values, detected) for name, values in layers.items()}
    for name, mask in (("1km", fine), ("5km", coarse)):
        features[f"N_Clay_{name}"] = mask.sum(axis=0).astype(float)
        features[f"Liq_Fraction_{name}"], features[f"Ice_Fraction_{name}"] = (
            layer_mean(~ice, mask),
            layer_mean(ice, mask),
        )
    return features | aerosol_features(conditions, section, np.where(reached, tau, 0).sum(axis=0), rng)


def aerosol_features(
    conditions: GranuleConditions, section: CrossSection, above: Line, rng: np.random.Generator
) -> dict[str, Line]:
    """Return the features of the aerosol layer, attenuated by the clouds ``above`` it (optical thickness)."""
    count = len(above)
    tau, top = shift_line(section.haze_tau, 0, count), shift_line(section.haze_top_km, 0, count)
    detected = (five_column_mean(tau) > HAZY * lognormal_factors(rng, (count,), 0.15)) & (
        above < lognormal_factors(rng, (count,), 0.2)
    )
    backscatter_532 = np.exp(-above) * -np.expm1(-2 * tau) / (2 * 44.0) * lognormal_factors(rng, (count,), 0.25)
    color_ratio = (0.75 if conditions.dust else 0.45) * lognormal_factors(rng, (count,), 0.25)
    base = np.maximum(top - 1.2, 0.05)
    values: dict[str, Any] = {
        "Aerosol_Type_Mode": 2.0 if conditions.dust else 1.0,
        "Top_Altitude": top,
        "Base_Altitude": base,
        "Top_Temperature": conditions.air_k - 273.15 - LAPSE_K_PER_KM * top,
        "Base_Temperature": conditions.air_k - 273.15 - LAPSE_K_PER_KM * base,
        "Integrated_Attenuated_Backscatter_532": backscatter_532,
        "Integrated_Attenuated_Backscatter_1064": backscatter_532 * color_ratio,
        "Color_Ratio": color_ratio,
        "Optical_Depth_532": tau * lognormal_factors(rng, (count,), 0.25),
    }
    return {f"Alay_{name}": np.where(detected, value, 0.0) for name, value in values.items()}


def five_column_mean(lines: Line) -> Line:
    """Return means over groups of five columns, repeated for each of the five."""
    starts = np.arange(lines.shape[-1]) // 5 * 5
    return np.asarray(np.add.reduceat(lines, np.unique(starts), axis=-1)[..., starts // 5] / 5)


def layer_mean(values: NDArray[Any], mask: NDArray[np.bool_]) -> Line:
    """Return the mean over a column's layers, 0 where there is none."""
    return np.asarray(np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1))


def lognormal_factors(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Line:
    """Return lognormal factors around 1."""
    return np.asarray(np.exp(width * rng.standard_normal(shape)))


# ---------------------------------------------------------------- radiometer


def radiometer_features(
    conditions: GranuleConditions, section: CrossSection, count: int, rng: np.random.Generator
) -> dict[str, Line]:
    """Return the 20 features: angles (degrees), reflectances M01 to M11, brightness temperatures (K) M12 to M16."""
    drift, slope = rng.uniform(-3, 3), np.tan(np.radians(conditions.view_zenith))
    down, up = (max(np.cos(np.radians(angle)), 0.2) for angle in (conditions.solar_zenith, conditions.view_zenith))
    decks = []
    for tau, top in ((section.low_tau, section.low_top_km), (section.high_tau, section.high_top_km)):
        displacement_km = drift + slope * float(top.mean())
        ice = shift_line(section.low_is_ice, displacement_km, count) if tau is section.low_tau else np.ones(count, bool)
        # Clouds do not fill a pixel evenly, so their apparent thickness varies around the mean.
        decks.append(
            (
                shift_line(tau, displacement_km, count) * lognormal_factors(rng, (count,), 0.2),
                shift_line(top, displacement_km, count),
                ice,
            )
        )
    surface = [shift_line(line, drift, count) for line in (section.albedo, section.skin_k, section.haze_tau)]
    reflectance = reflectances(conditions, decks, surface, (down, up)) * lognormal_factors(rng, (count, 1), 0.03)
    brightness = brightness_temperatures(conditions, decks, surface, (down, up)) + NOISE_KELVIN * rng.standard_normal(
        (count, 5)
    )
    reflectance = reflectance * lognormal_factors(rng, reflectance.shape, 0.01) + 2e-4 * np.abs(
        rng.standard_normal(reflectance.shape)
    )
    angles = (conditions.solar_zenith, conditions.azimuths[0], conditions.view_zenith, conditions.azimuths[1])
    angle_drift = np.linspace(-1.5, 1.5, count)
    features = {name: np.asarray(angle + angle_drift) for name, angle in zip(ANGLES, angles, strict=True)}
    features["VIIRS_VZA"] = np.abs(features["VIIRS_VZA"])
    return features | dict(zip(BANDS, np.concatenate([reflectance, brightness], axis=1).T, strict=True))


def absorption_factor(ice: NDArray[np.bool_]) -> Line:
    """Return the factor by which absorption darkens clouds, (columns, 13): M01 to M13."""
    index = np.where(ice[:, None], IMAGINARY_INDEX["ice"], IMAGINARY_INDEX["water"])
    loss = np.clip(0.85 * 4 * np.pi * index / WAVELENGTHS_UM[7:13] * np.where(ice, 28.0, 11.0)[:, None], 0, 0.45)
    s = np.sqrt(loss / (1 - (1 - loss) * ASYMMETRY))
    return np.concatenate([np.ones((len(ice), 7)), (1 - s) * (1 - 0.139 * s) / (1 + 1.17 * s)], axis=1)


def reflectances(
    conditions: GranuleConditions, decks: list[Any], surface: list[Line], cosines: tuple[float, float]
) -> Line:
    """Return reflectances, (columns, 11)."""
    down, up = cosines
    air_mass = 1 / down + 1 / up
    signal = surface[0] * np.exp(-VAPOR_ABSORPTION * air_mass * conditions.vapor_cm)
    haze = surface[2][:, None] * (0.55 / SHORT_UM) ** (0.3 if conditions.dust else 1.3)
    air = 0.00864 * SHORT_UM**-4.0
    # At 1.38 um water vapor absorbs the light scattered in the lower atmosphere.
    veil = (0.75 * air + 0.12 * haze) / (4 * down * up) * (SHORT_UM != 1.378)
    signal = veil + signal * np.exp(-0.5 * (air + 0.25 * haze) * air_mass)
    for tau, top, ice in decks:
        thick = (1 - ASYMMETRY) * tau
        white = (thick / (2 * down + thick))[:, None]
        gas = np.exp(-VAPOR_ABSORPTION * air_mass * conditions.vapor_cm * np.exp(-top / SCALE_KM)[:, None])
        shining = white * absorption_factor(ice)[:, :11] * gas
        signal = shining + (1 - white) ** 2 * signal / (1 - white * np.minimum(signal, 0.95))
    return np.asarray(np.clip(signal, 0, 1.6))


def brightness_temperatures(
    conditions: GranuleConditions, decks: list[Any], surface: list[Line], cosines: tuple[float, float]
) -> Line:
    """Return brightness temperatures (K), (columns, 5)."""
    down, up = cosines
    air = np.exp(-LONG_VAPOR_ABSORPTION * conditions.vapor_cm / up)
    total = planck_radiance(surface[1][:, None]) * air + (1 - air) * planck_radiance(np.array(conditions.air_k - 10.0))
    for tau, top, ice in decks:
        share = np.where(ice[:, None], LONG_CLOUD_ABSORPTION["ice"], LONG_CLOUD_ABSORPTION["water"])
        passed = np.exp(-share * tau[:, None] / up)
        total = total * passed + (1 - passed) * planck_radiance((conditions.air_k - LAPSE_K_PER_KM * top)[:, None])
        thick = (1 - ASYMMETRY) * tau
        sunny = np.concatenate([absorption_factor(ice)[:, 11:], np.zeros((len(tau), 3))], axis=1)
        total = total + (thick / (2 * down + thick))[:, None] * sunny * SUNSHINE * down / np.pi
    return np.asarray(14387.77 / LONG_UM / np.log1p(1.191043e8 / LONG_UM**5 / total))


def planck_radiance(kelvin: Line) -> Line:
    """Return the radiance of the thermal bands (W m-2 sr-1 um-1) at some temperatures (K), (.., 5)."""
    return np.asarray(1.191043e8 / LONG_UM**5 / np.expm1(14387.77 / LONG_UM / kelvin))
