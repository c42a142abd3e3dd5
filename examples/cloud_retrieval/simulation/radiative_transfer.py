"""Simulated measurements of the sixteen bands: a few layers, two streams, Planck's function.

- **Cloud reflectance.** Non-absorbing: Coakley and Chylek 1975 (J. Atmos. Sci. 32, 409) with the backscatter fraction
  of the Eddington phase function after delta scaling (Joseph et al. 1976, J. Atmos. Sci. 33, 2452); absorbing bands are
  darkened by King's similarity relation for thick layers, (1 - s)(1 - 0.139 s) / (1 + 1.170 s), s = sqrt((1 - w) / (1 -
  w g)) (King 1987, J. Atmos. Sci. 44, 1734), where the co-albedo is 0.85 kappa r (Twomey and Bohren 1980, J. Atmos.
  Sci. 37, 2086) with the imaginary indices of water (Hale and Querry 1973) and ice (Warren and Brandt 2008), rounded.
  Layers and surface are combined as diffuse reflectors.
- **Air.** Rayleigh scattering after Hansen and Travis 1974 (0.00864 um^-4), above clouds in proportion to their
  opacity; aerosol; water vapor, which at 1.38 um masks everything at low altitude (Gao et al. 1993, J. Atmos. Sci. 50,
  3814).
- **Sun glint** after Cox and Munk, as a lobe of 12 degrees.
- **Emission.** Planck's function of the surface, of water vapor, and of both decks, with an absorption optical
  thickness that is a fraction of the visible one and differs between bands and between water and ice, the basis of
  split-window methods. At 3.7 and 4.05 um reflected sunlight is added.
- **Instrument.** Noise at the level of the VIIRS requirements, quantization, no value below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from granules.viirs import BANDS, MAX_VALID_COUNT, Band, planck_radiance
from numpy.typing import NDArray

from simulation.synthetic_atmosphere import VAPOR_SCALE_KM, AtmosphereSample

Plane = NDArray[np.float32]

ASYMMETRY = 0.85
# Surface albedo by band, M01 ... M11; typical values, rounded.
OCEAN = (0.030, 0.028, 0.025, 0.022, 0.020, 0.018, 0.016, 0.014, 0.012, 0.010, 0.008)
VEGETATION = (0.030, 0.032, 0.038, 0.075, 0.055, 0.250, 0.380, 0.360, 0.300, 0.210, 0.100)
DESERT = (0.120, 0.150, 0.190, 0.280, 0.370, 0.400, 0.430, 0.480, 0.480, 0.520, 0.480)
SNOW = (0.830, 0.830, 0.830, 0.820, 0.800, 0.770, 0.740, 0.460, 0.400, 0.110, 0.080)
# Imaginary part of the refractive index of water and ice, in bands where clouds absorb.
IMAGINARY_INDEX = {
    "M08": (1.1e-5, 1.2e-5),
    "M09": (5.0e-5, 2.0e-5),
    "M10": (8.5e-5, 2.7e-4),
    "M11": (3.6e-4, 2.2e-4),
    "M12": (3.6e-3, 7.0e-3),
    "M13": (4.6e-3, 1.0e-2),
}
# Absorption by water vapor per cm and air mass; the vertical paths down and up count as one air mass each.
VAPOR_ABSORPTION = {"M05": 0.006, "M06": 0.02, "M07": 0.004, "M08": 0.02, "M09": 3.2, "M10": 0.006, "M11": 0.02}
THERMAL_VAPOR_ABSORPTION = {"M12": 0.03, "M13": 0.03, "M14": 0.13, "M15": 0.075, "M16": 0.12}
# Ratio of absorption optical thickness to visible optical thickness, water and ice.
THERMAL_CLOUD_ABSORPTION = {
    "M12": (0.25, 0.38),
    "M13": (0.25, 0.36),
    "M14": (0.47, 0.45),
    "M15": (0.45, 0.52),
    "M16": (0.57, 0.58),
}
DESERT_EMISSIVITY = {"M12": 0.85, "M13": 0.87, "M14": 0.84, "M15": 0.96, "M16": 0.97}
SOLAR_IRRADIANCE = {"M12": 11.5, "M13": 8.1}  # at the top of the atmosphere, W m-2 um-1
NOISE_K = {"M12": 0.35, "M13": 0.4, "M14": 0.09, "M15": 0.07, "M16": 0.07}
TWILIGHT_COSINE = 0.02


@dataclass(frozen=True)
class ViewGeometry:
    """Cosines of solar and satellite zenith angle, and the angle from specular reflection (degrees)."""

    sun_cosine: Plane
    satellite_cosine: Plane
    glint_deg: Plane

    @property
    def sunlit_cosine(self) -> Plane:
        """Solar cosine for illumination; a softplus keeps it positive in twilight."""
        return np.asarray(TWILIGHT_COSINE * np.logaddexp(0.0, self.sun_cosine / TWILIGHT_COSINE), np.float32)


@dataclass(frozen=True)
class ParticleSizes:
    """Effective radius of both decks, and the phase of the low deck (True: ice)."""

    low_um: Plane
    high_um: Plane
    ice: NDArray[np.bool_]


def particle_sizes(scene: AtmosphereSample) -> ParticleSizes:
    """Return particle sizes: crystals are larger than droplets, and both vary with the texture field."""
    low = np.where(scene.low_ice, 26.0 + 5.0 * scene.texture, 11.0 + 2.5 * scene.texture)
    return ParticleSizes(np.clip(low, 5.0, 45.0), np.clip(30.0 + 7.0 * scene.texture, 12.0, 60.0), scene.low_ice)


def backscatter_fraction(cosine: Plane) -> Plane:
    """Return the fraction of a beam that a thin layer of delta-scaled cloud scatters upward."""
    return np.asarray(0.5 - 0.75 * ASYMMETRY / (1.0 + ASYMMETRY) * cosine, np.float32)


def layer_reflectance(tau: Plane, cosine: Plane) -> Plane:
    """Return the reflectance of a non-absorbing layer."""
    # 1 - g^2 is the delta scaling of optical thickness.
    x = backscatter_fraction(cosine) * (1.0 - ASYMMETRY**2) * tau / cosine
    return np.asarray(x / (1.0 + x), np.float32)


def absorption_factor(band: Band, radius: Plane, ice: NDArray[np.bool_] | bool) -> Plane:
    """Return the factor by which absorption darkens a thick cloud: King's relation."""
    if band.name not in IMAGINARY_INDEX:
        return np.ones_like(radius)
    water, frozen = IMAGINARY_INDEX[band.name]
    index = np.where(ice, np.float32(frozen), np.float32(water))
    # Co-albedo 0.85 kappa r (Twomey and Bohren 1980); the cap keeps King's relation in its range.
    loss = np.clip(0.85 * 4.0 * np.pi * index / band.wavelength_um * radius, 0.0, 0.45)
    s = np.sqrt(loss / (1.0 - (1.0 - loss) * ASYMMETRY))
    return np.asarray((1.0 - s) * (1.0 - 0.139 * s) / (1.0 + 1.170 * s), np.float32)


def add_layers(top: Plane, bottom: Plane) -> Plane:
    """Return the reflectance of a layer over a reflector, with multiple reflection between them."""
    return np.asarray(top + (1.0 - top) ** 2 * bottom / (1.0 - top * bottom), np.float32)


@dataclass(frozen=True)
class CloudReflectance:
    """Quantities shared by all bands: reflectances of the two decks without absorption, particle sizes."""

    low: Plane
    high: Plane
    sizes: ParticleSizes


def cloud_reflectance(scene: AtmosphereSample, view: ViewGeometry) -> CloudReflectance:
    """Return the quantities shared by all bands."""
    cosine = np.maximum(view.sunlit_cosine, 0.03)
    return CloudReflectance(
        layer_reflectance(scene.low_tau, cosine), layer_reflectance(scene.high_tau, cosine), particle_sizes(scene)
    )


def surface_albedo(scene: AtmosphereSample, view: ViewGeometry, number: int) -> Plane:
    """Return the albedo of the surface in a reflective band (index 0: M01)."""
    ground = scene.surface
    vegetation = ground.land - ground.desert
    variation = np.clip(1.0 + 0.25 * scene.texture, 0.4, 1.8)
    bare = (1.0 - ground.land) * OCEAN[number] + variation * (
        vegetation * VEGETATION[number] + ground.desert * DESERT[number]
    )
    # A lobe of 12 degrees, on water only.
    glint = 0.32 * np.exp(-((view.glint_deg / 12.0) ** 2)) * (1.0 - ground.land)
    return np.asarray(np.clip((bare + glint) * (1.0 - ground.snow) + ground.snow * SNOW[number], 0.0, 0.95), np.float32)


def reflected_signal(
    band: Band, number: int, scene: AtmosphereSample, view: ViewGeometry, clouds: CloudReflectance
) -> Plane:
    """Return reflectance times solar cosine in a reflective band."""
    # The floors bound the air mass near the horizon, where plane-parallel layers are not valid.
    cosine, slant = np.maximum(view.sunlit_cosine, 0.03), np.maximum(view.satellite_cosine, 0.2)
    air_mass = 1.0 / cosine + 1.0 / slant
    gas = VAPOR_ABSORPTION.get(band.name, 0.0) * np.minimum(air_mass, 8.0)

    def through(height: Plane | float) -> Plane:
        return np.asarray(
            np.exp(-gas * scene.surface.vapor_cm * np.exp(-np.asarray(height, np.float32) / VAPOR_SCALE_KM)), np.float32
        )

    low = clouds.low * absorption_factor(band, clouds.sizes.low_um, clouds.sizes.ice) * through(scene.low_top_km)
    high = clouds.high * absorption_factor(band, clouds.sizes.high_um, True) * through(scene.high_top_km)
    below = add_layers(low, surface_albedo(scene, view, number) * through(0.0))
    below_air = add_layers(high, below)
    # Rayleigh scattering of the air above the visible level: an opaque deck hides the air below its top.
    hidden_low, hidden_high = 1.0 - np.exp(-scene.low_tau / slant), 1.0 - np.exp(-scene.high_tau / slant)
    air = hidden_high * np.exp(-scene.high_top_km / 8.0)
    air = air + (1.0 - hidden_high) * (hidden_low * np.exp(-scene.low_top_km / 8.0) + (1.0 - hidden_low))
    # Hansen and Travis 1974; 8 km is the scale height of air.
    scatter = 0.00864 * band.wavelength_um**-4.0 * air
    haze = (
        0.10
        * np.exp(0.6 * scene.texture)
        * (0.55 / band.wavelength_um) ** 1.3
        * (1.0 - hidden_low)
        * (1.0 - hidden_high)
    )
    veil = (
        (scatter * 0.75 + haze * 0.12) / (4.0 * cosine * slant) * 4.0 / (1.0 + 4.0 * (scatter + 0.3 * haze) * air_mass)
    )
    loss = np.exp(-0.5 * (scatter + 0.25 * haze) * np.minimum(air_mass, 8.0))
    return np.asarray(
        (veil * (1.0 if band.name != "M09" else 0.02) + below_air * loss) * view.sunlit_cosine, np.float32
    )


def thermal_radiance(band: Band, scene: AtmosphereSample, view: ViewGeometry, clouds: CloudReflectance) -> Plane:
    """Return the radiance of a thermal band (W m-2 sr-1 um-1)."""
    slant = np.maximum(view.satellite_cosine, 0.2)
    desert = DESERT_EMISSIVITY[band.name]
    emissivity = 0.985 - scene.surface.desert * (0.985 - desert)
    glow = emissivity * planck_radiance(band.wavelength_um, scene.surface.skin_k)
    solar = np.zeros_like(glow)
    if band.name in SOLAR_IRRADIANCE:
        beam = SOLAR_IRRADIANCE[band.name] * view.sunlit_cosine / np.pi
        solar = (1.0 - emissivity + 0.10 * np.exp(-((view.glint_deg / 12.0) ** 2)) * (1.0 - scene.surface.land)) * beam
    air = np.exp(-THERMAL_VAPOR_ABSORPTION[band.name] * scene.surface.vapor_cm / slant)
    total = (glow + solar) * air + (1.0 - air) * planck_radiance(band.wavelength_um, scene.surface.air_k - 10.0)
    water, frozen = THERMAL_CLOUD_ABSORPTION[band.name]
    decks = (
        (
            scene.low_tau,
            scene.low_k,
            np.where(scene.low_ice, frozen, water),
            clouds.low,
            clouds.sizes.low_um,
            scene.low_ice,
        ),
        (scene.high_tau, scene.high_k, frozen, clouds.high, clouds.sizes.high_um, True),
    )
    for tau, kelvin, share, reflectance, radius, ice in decks:
        passed = np.exp(-share * tau / slant)
        total = total * passed + (1.0 - passed) * planck_radiance(band.wavelength_um, kelvin)
        if band.name in SOLAR_IRRADIANCE:
            total = total + reflectance * absorption_factor(band, radius, ice) * beam
    return np.asarray(total, np.float32)


def digitize(band: Band, signal: Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return stored integers of a band: noise, quantization, nothing below zero."""
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    if band.thermal:
        kelvin = np.float32(270.0)
        # Noise is specified in kelvin at 270 K; the slope of Planck's function converts it to radiance.
        slope = float(
            planck_radiance(band.wavelength_um, kelvin + 0.5) - planck_radiance(band.wavelength_um, kelvin - 0.5)
        )
        values = signal + noise * np.float32(slope * NOISE_K[band.name])
    else:
        values = signal + noise * (np.float32(2e-5) + np.float32(0.004) * np.sqrt(np.maximum(signal, 0.0) * 0.05))
    return np.asarray(np.clip(np.rint(values / band.step), 0, MAX_VALID_COUNT), np.uint16)


def simulate_bands(
    scene: AtmosphereSample, view: ViewGeometry, rng: np.random.Generator
) -> dict[str, NDArray[np.uint16]]:
    """Return stored integers of all bands."""
    clouds = cloud_reflectance(scene, view)
    counts = {}
    for number, band in enumerate(BANDS):
        signal = (
            thermal_radiance(band, scene, view, clouds)
            if band.thermal
            else reflected_signal(band, number, scene, view, clouds)
        )
        counts[band.name] = digitize(band, signal, rng)
    return counts
