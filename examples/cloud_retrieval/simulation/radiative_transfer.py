"""What the sixteen bands measure over a synthetic scene: a few layers, two streams, Planck's function.

- **Cloud reflectance.** Non-absorbing: Coakley and Chylek 1975 (J. Atmos. Sci. 32, 409) with the backscatter fraction
  of the Eddington phase function after delta scaling (Joseph et al. 1976, J. Atmos. Sci. 33, 2452); absorbing bands
  are darkened by King's similarity relation for thick layers, (1 - s)(1 - 0.139 s) / (1 + 1.170 s), s = sqrt((1 - w)
  / (1 - w g)) (King 1987, J. Atmos. Sci. 44, 1734), where the co-albedo is 0.85 kappa r (Twomey and Bohren 1980, J.
  Atmos. Sci. 37, 2086) with the imaginary indices of water (Hale and Querry 1973) and ice (Warren and Brandt 2008),
  rounded. Layers and surface are added up as diffuse reflectors.
- **Air.** Rayleigh scattering after Hansen and Travis 1974 (0.00864 um^-4), above the clouds only as far as they hide
  what lies below; aerosol; water vapour, which at 1.38 um hides all that is not high (Gao et al. 1993, J. Atmos. Sci.
  50, 3814).
- **Sun glint** after Cox and Munk, as a lobe of 12 degrees.
- **Emission.** Planck's function of the surface, of the air's vapour, and of both decks, with absorption optical
  thickness a share of the visible one that differs between bands and between water and ice: what split windows live
  on. At 3.7 and 4.05 um sunlight is added.
- **Instrument.** Noise of the size of VIIRS' requirements, steps of the stored integers, no value below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from granules.viirs import BANDS, MAX_VALID_COUNT, Band, planck_radiance
from numpy.typing import NDArray

from simulation.synthetic_atmosphere import VAPOR_SCALE_KM, AtmosphereSample

Plane = NDArray[np.float32]

ASYMMETRY = 0.85
# Surfaces, by band M01 ... M11.
OCEAN = (0.030, 0.028, 0.025, 0.022, 0.020, 0.018, 0.016, 0.014, 0.012, 0.010, 0.008)
VEGETATION = (0.030, 0.032, 0.038, 0.075, 0.055, 0.250, 0.380, 0.360, 0.300, 0.210, 0.100)
DESERT = (0.120, 0.150, 0.190, 0.280, 0.370, 0.400, 0.430, 0.480, 0.480, 0.520, 0.480)
SNOW = (0.830, 0.830, 0.830, 0.820, 0.800, 0.770, 0.740, 0.460, 0.400, 0.110, 0.080)
# Imaginary part of the refractive index of water and ice where clouds absorb.
IMAGINARY_INDEX = {
    "M08": (1.1e-5, 1.2e-5),
    "M09": (5.0e-5, 2.0e-5),
    "M10": (8.5e-5, 2.7e-4),
    "M11": (3.6e-4, 2.2e-4),
    "M12": (3.6e-3, 7.0e-3),
    "M13": (4.6e-3, 1.0e-2),
}
# Absorption of vapour per cm, straight down and up again counted as one air mass each.
VAPOR_ABSORPTION = {"M05": 0.006, "M06": 0.02, "M07": 0.004, "M08": 0.02, "M09": 3.2, "M10": 0.006, "M11": 0.02}
THERMAL_VAPOR_ABSORPTION = {"M12": 0.03, "M13": 0.03, "M14": 0.13, "M15": 0.075, "M16": 0.12}
# Absorption optical thickness over the visible one, water and ice.
THERMAL_CLOUD_ABSORPTION = {
    "M12": (0.25, 0.38),
    "M13": (0.25, 0.36),
    "M14": (0.47, 0.45),
    "M15": (0.45, 0.52),
    "M16": (0.57, 0.58),
}
DESERT_EMISSIVITY = {"M12": 0.85, "M13": 0.87, "M14": 0.84, "M15": 0.96, "M16": 0.97}
SOLAR_IRRADIANCE = {"M12": 11.5, "M13": 8.1}  # at the top of the air, W m-2 um-1
NOISE_K = {"M12": 0.35, "M13": 0.4, "M14": 0.09, "M15": 0.07, "M16": 0.07}
TWILIGHT_COSINE = 0.02


@dataclass(frozen=True)
class ViewGeometry:
    """Cosines of the sun's and the satellite's zenith angle, and the angle from the sun's mirror image (degrees)."""

    sun_cosine: Plane
    satellite_cosine: Plane
    glint_deg: Plane

    @property
    def sunlit_cosine(self) -> Plane:
        """Cosine of the sun as light: positive in twilight, too."""
        return np.asarray(TWILIGHT_COSINE * np.logaddexp(0.0, self.sun_cosine / TWILIGHT_COSINE), np.float32)


@dataclass(frozen=True)
class ParticleSizes:
    """Effective radius (um) of both decks, and the low one's phase as 0 (water) or 1 (ice)."""

    low_um: Plane
    high_um: Plane
    ice: NDArray[np.bool_]


def particle_sizes(scene: AtmosphereSample) -> ParticleSizes:
    """Particle sizes: droplets grow with the depth of the cloud, crystals are larger; both scatter."""
    low = np.where(scene.low_ice, 26.0 + 5.0 * scene.texture, 11.0 + 2.5 * scene.texture)
    return ParticleSizes(np.clip(low, 5.0, 45.0), np.clip(30.0 + 7.0 * scene.texture, 12.0, 60.0), scene.low_ice)


def backscatter_fraction(cosine: Plane) -> Plane:
    """Share of a beam that a thin layer of delta-scaled cloud sends back up."""
    return np.asarray(0.5 - 0.75 * ASYMMETRY / (1.0 + ASYMMETRY) * cosine, np.float32)


def layer_reflectance(tau: Plane, cosine: Plane) -> Plane:
    """Reflectance of a layer that absorbs nothing."""
    x = backscatter_fraction(cosine) * (1.0 - ASYMMETRY**2) * tau / cosine
    return np.asarray(x / (1.0 + x), np.float32)


def absorption_factor(band: Band, radius: Plane, ice: NDArray[np.bool_] | bool) -> Plane:
    """How much darker a thick cloud is for absorbing: King's relation."""
    if band.name not in IMAGINARY_INDEX:
        return np.ones_like(radius)
    water, frozen = IMAGINARY_INDEX[band.name]
    index = np.where(ice, np.float32(frozen), np.float32(water))
    loss = np.clip(0.85 * 4.0 * np.pi * index / band.wavelength_um * radius, 0.0, 0.45)
    s = np.sqrt(loss / (1.0 - (1.0 - loss) * ASYMMETRY))
    return np.asarray((1.0 - s) * (1.0 - 0.139 * s) / (1.0 + 1.170 * s), np.float32)


def add_layers(top: Plane, bottom: Plane) -> Plane:
    """Reflectance of a layer over a reflector, both without absorption between them."""
    return np.asarray(top + (1.0 - top) ** 2 * bottom / (1.0 - top * bottom), np.float32)


@dataclass(frozen=True)
class CloudReflectance:
    """Parts of a scene that all bands share: reflectances of the two decks without absorption, particle sizes."""

    low: Plane
    high: Plane
    sizes: ParticleSizes


def cloud_reflectance(scene: AtmosphereSample, view: ViewGeometry) -> CloudReflectance:
    """The shared parts."""
    cosine = np.maximum(view.sunlit_cosine, 0.03)
    return CloudReflectance(
        layer_reflectance(scene.low_tau, cosine), layer_reflectance(scene.high_tau, cosine), particle_sizes(scene)
    )


def surface_albedo(scene: AtmosphereSample, view: ViewGeometry, number: int) -> Plane:
    """Albedo of the surface in a reflective band (0: M01)."""
    ground = scene.surface
    green = ground.land - ground.desert
    vary = np.clip(1.0 + 0.25 * scene.texture, 0.4, 1.8)
    bare = (1.0 - ground.land) * OCEAN[number] + vary * (green * VEGETATION[number] + ground.desert * DESERT[number])
    glint = 0.32 * np.exp(-((view.glint_deg / 12.0) ** 2)) * (1.0 - ground.land)
    return np.asarray(np.clip((bare + glint) * (1.0 - ground.snow) + ground.snow * SNOW[number], 0.0, 0.95), np.float32)


def reflected_signal(
    band: Band, number: int, scene: AtmosphereSample, view: ViewGeometry, parts: CloudReflectance
) -> Plane:
    """Reflectance times the cosine of the sun in a reflective band."""
    cosine, slant = np.maximum(view.sunlit_cosine, 0.03), np.maximum(view.satellite_cosine, 0.2)
    mass = 1.0 / cosine + 1.0 / slant
    gas = VAPOR_ABSORPTION.get(band.name, 0.0) * np.minimum(mass, 8.0)

    def through(height: Plane | float) -> Plane:
        return np.asarray(
            np.exp(-gas * scene.surface.vapor_cm * np.exp(-np.asarray(height, np.float32) / VAPOR_SCALE_KM)), np.float32
        )

    low = parts.low * absorption_factor(band, parts.sizes.low_um, parts.sizes.ice) * through(scene.low_top_km)
    high = parts.high * absorption_factor(band, parts.sizes.high_um, True) * through(scene.high_top_km)
    below = add_layers(low, surface_albedo(scene, view, number) * through(0.0))
    seen = add_layers(high, below)
    # Air above what is seen: the better a deck hides what lies below, the less air remains.
    hidden_low, hidden_high = 1.0 - np.exp(-scene.low_tau / slant), 1.0 - np.exp(-scene.high_tau / slant)
    air = hidden_high * np.exp(-scene.high_top_km / 8.0)
    air = air + (1.0 - hidden_high) * (hidden_low * np.exp(-scene.low_top_km / 8.0) + (1.0 - hidden_low))
    scatter = 0.00864 * band.wavelength_um**-4.0 * air
    haze = (
        0.10
        * np.exp(0.6 * scene.texture)
        * (0.55 / band.wavelength_um) ** 1.3
        * (1.0 - hidden_low)
        * (1.0 - hidden_high)
    )
    veil = (scatter * 0.75 + haze * 0.12) / (4.0 * cosine * slant) * 4.0 / (1.0 + 4.0 * (scatter + 0.3 * haze) * mass)
    loss = np.exp(-0.5 * (scatter + 0.25 * haze) * np.minimum(mass, 8.0))
    return np.asarray((veil * (1.0 if band.name != "M09" else 0.02) + seen * loss) * view.sunlit_cosine, np.float32)


def thermal_radiance(band: Band, scene: AtmosphereSample, view: ViewGeometry, parts: CloudReflectance) -> Plane:
    """Radiance of a thermal band (W m-2 sr-1 um-1)."""
    slant = np.maximum(view.satellite_cosine, 0.2)
    desert = DESERT_EMISSIVITY[band.name]
    emissivity = 0.985 - scene.surface.desert * (0.985 - desert)
    glow = emissivity * planck_radiance(band.wavelength_um, scene.surface.skin_k)
    sun = np.zeros_like(glow)
    if band.name in SOLAR_IRRADIANCE:
        beam = SOLAR_IRRADIANCE[band.name] * view.sunlit_cosine / np.pi
        sun = (1.0 - emissivity + 0.10 * np.exp(-((view.glint_deg / 12.0) ** 2)) * (1.0 - scene.surface.land)) * beam
    air = np.exp(-THERMAL_VAPOR_ABSORPTION[band.name] * scene.surface.vapor_cm / slant)
    total = (glow + sun) * air + (1.0 - air) * planck_radiance(band.wavelength_um, scene.surface.air_k - 10.0)
    water, frozen = THERMAL_CLOUD_ABSORPTION[band.name]
    decks = (
        (
            scene.low_tau,
            scene.low_k,
            np.where(scene.low_ice, frozen, water),
            parts.low,
            parts.sizes.low_um,
            scene.low_ice,
        ),
        (scene.high_tau, scene.high_k, frozen, parts.high, parts.sizes.high_um, True),
    )
    for tau, kelvin, share, reflectance, radius, ice in decks:
        passed = np.exp(-share * tau / slant)
        total = total * passed + (1.0 - passed) * planck_radiance(band.wavelength_um, kelvin)
        if band.name in SOLAR_IRRADIANCE:
            total = total + reflectance * absorption_factor(band, radius, ice) * beam
    return np.asarray(total, np.float32)


def digitize(band: Band, true: Plane, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Stored integers of a band: noise, steps, nothing below zero."""
    noise = rng.standard_normal(true.shape, dtype=np.float32)
    if band.thermal:
        kelvin = np.float32(270.0)
        slope = float(
            planck_radiance(band.wavelength_um, kelvin + 0.5) - planck_radiance(band.wavelength_um, kelvin - 0.5)
        )
        values = true + noise * np.float32(slope * NOISE_K[band.name])
    else:
        values = true + noise * (np.float32(2e-5) + np.float32(0.004) * np.sqrt(np.maximum(true, 0.0) * 0.05))
    return np.asarray(np.clip(np.rint(values / band.step), 0, MAX_VALID_COUNT), np.uint16)


def simulate_bands(
    scene: AtmosphereSample, view: ViewGeometry, rng: np.random.Generator
) -> dict[str, NDArray[np.uint16]]:
    """Stored integers of all bands."""
    parts = cloud_reflectance(scene, view)
    found = {}
    for number, band in enumerate(BANDS):
        true = (
            thermal_radiance(band, scene, view, parts)
            if band.thermal
            else reflected_signal(band, number, scene, view, parts)
        )
        found[band.name] = digitize(band, true, rng)
    return found
