"""Synthetic cloud scenes based on physical arguments, not fitted to any measurement.

Each scene is generated on a grid three times finer than its pixels (33 m for pixels of 100 m) and averaged at the end,
so that pixels are partly covered, as real ones are. The steps and their sources:

1.  **Water.** A Gaussian random field whose spectrum along a line falls as k^-5/3, as liquid water does from tens of
    meters to tens of kilometers [1, 2]; below the depth of the layer one power steeper, because a column sums over
    eddies smaller than itself. Its exponential minus a threshold is the liquid water path (LWP): lognormal-like
    inside clouds, zero in a given part of the scene, and approaching zero smoothly at edges, so that thin cloud exists.
2.  **Droplets.** An adiabatic column has LWP = c_w h^2 / 2 and, with N droplets per volume,
    r_e(top) = (3 sqrt(2 c_w LWP) / (4 pi rho_w k N))^(1/3) [3]: r_e grows with LWP^(1/6) only. Entrainment adds a
    correlated lognormal scatter, so that r_e is not a function of COT. N varies from scene to scene.
3.  **Optical thickness.** COT = 3 LWP / (2 rho_w r_e) [4]. 4.  **Reflectance.** Two-stream solution for a beam on a
scattering layer [5] over a Lambertian surface [6, 7],
    asymmetry g = 0.85. Absorption at 0.66 um is negligible. At 2.13 um the co-albedo is 0.85 kappa r_e with
    kappa = 4 pi n_i / lambda [8]: thick clouds darken as droplets grow, which makes the bispectral retrieval possible
    [9]. The albedo stands for the reflectance seen from above.
5.  **Three dimensions.** (a) Slopes of the cloud top that face the sun are brighter and those that face away darker,
    and pixels behind a cloud are in its shadow: the direct beam is traced up-sun through the columns. (b) Photons
    travel sideways before they escape: radiative smoothing of scale h / sqrt((1 - g) COT) [10], shorter where
    absorption truncates long paths. Both make the reflectance of a single pixel ambiguous, as in nature; neither is
    three-dimensional radiative transfer.
6.  **Instrument.** A gain error per scene and band, photon-like noise, and haze of varying amount.

Truth at pixel scale: COT is the mean over the pixel, CER = sum(LWP) / sum(LWP / r_e), and a pixel of mean COT below 0.5
counts as clear. The large-eddy scene whose layout is used has COT from 0.56 to 199.5.

[1] Davis et al. 1994, J. Geophys. Res. 99, 8055.  [2] Cahalan et al. 1994, J. Atmos. Sci. 51, 2434.
[3] Bennartz 2007, J. Geophys. Res. 112, D02201.  [4] Stephens 1978, J. Atmos. Sci. 35, 2123.
[5] Meador and Weaver 1980, J. Atmos. Sci. 37, 630.  [6] Coakley and Chylek 1975, J. Atmos. Sci. 32, 409.
[7] Bohren 1987, Am. J. Phys. 55, 524.  [8] Twomey and Bohren 1980, J. Atmos. Sci. 37, 2086.
[9] Nakajima and King 1990, J. Atmos. Sci. 47, 1878.  [10] Marshak et al. 1995, J. Geophys. Res. 100, 26247.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

PIXEL_M = 100.0
SUBPIXELS = 3  # sub-pixels per pixel side
WATER_KG_M3 = 1000.0
ADIABATIC_KG_M4 = 2.0e-6  # c_w: condensate gained per meter of lift, warm boundary-layer cloud [3]
DROPLET_SPECTRUM = 0.8  # k: volume radius cubed over effective radius cubed, maritime [3]
ASYMMETRY = 0.85
LAMBDA_M = (0.66e-6, 2.13e-6)
IMAGINARY_INDEX = (1.6e-8, 3.7e-4)  # of water at the two wavelengths
LAYER_M = 500.0  # depth of the cloud layer
MIN_WAVENUMBER = 3.0  # waves per domain
CLEAR_BELOW_COT = 0.5
MAX_COT = 199.5
ROWS_IN_CACHE = 16  # rows of the fine grid that are traced together
DIFFUSE_FRACTION = 0.12  # share of sunlight that a fully shaded point receives from sky and neighboring clouds


@dataclass(frozen=True)
class SceneConditions:
    """Parameters of one scene, drawn by :func:`draw_conditions`.

    Angles in degrees, water path in kg m-2, droplet number in m-3, lengths in m.
    """

    cover: float
    water_path: float
    log_spread: float
    droplets: float
    scatter: float
    base_m: float
    sza: float
    albedo: float
    haze: float
    noise: float


@dataclass(frozen=True)
class SyntheticScene:
    """A scene in the layout of the file: planes of (size, size), reflectance (2, size, size)."""

    reflectance: NDArray[np.float64]
    cot: Plane
    cer: Plane
    cover: Plane
    conditions: SceneConditions


def draw_conditions(rng: np.random.Generator, *, sza: float = 60.0) -> SceneConditions:
    """Draw the parameters of one scene: a field of broken cumulus, solar zenith angle ``sza`` (degrees)."""
    return SceneConditions(
        cover=rng.uniform(0.30, 0.5),
        water_path=rng.lognormal(np.log(0.20), 0.25),
        log_spread=rng.uniform(1.2, 1.6),
        droplets=rng.lognormal(np.log(2.2e8), 0.25),
        scatter=rng.uniform(0.10, 0.16),
        base_m=rng.uniform(500.0, 900.0),
        sza=sza,
        albedo=0.05,
        haze=rng.uniform(0.004, 0.02),
        noise=0.01,
    )


def simulate_scene(size: int, rng: np.random.Generator, conditions: SceneConditions) -> SyntheticScene:
    """Simulate a scene of ``size`` x ``size`` pixels of 100 m, periodic at its edges like large-eddy domains."""
    fine = size * SUBPIXELS
    water = liquid_water(fine, rng, conditions)
    radius = effective_radius(water, fractal_field(fine, rng), conditions)
    cot = np.minimum(3.0 * water / (2.0 * WATER_KG_M3 * radius), MAX_COT)
    illumination = direct_illumination(water, cot, conditions)
    haze = conditions.haze * np.exp(0.5 * fractal_field(fine, rng))
    planes = [
        band_reflectance(cot, radius, illumination, conditions, index=index) + haze_reflectance(haze, index)
        for index in range(len(LAMBDA_M))
    ]
    reflectance = np.stack([add_sensor_noise(block_mean(plane), rng, conditions) for plane in planes])
    return SyntheticScene(reflectance=reflectance, conditions=conditions, **pixel_truth(water, cot, radius))


def pixel_truth(water: Plane, cot: Plane, radius: Plane) -> dict[str, Plane]:
    """Return pixel-scale truth from the fine planes; NaN where the pixel counts as clear."""
    mean_cot = block_mean(cot)
    cloudy = mean_cot >= CLEAR_BELOW_COT
    lwp_over_radius = block_mean(water / radius)
    cer = np.divide(block_mean(water), lwp_over_radius, out=np.full_like(lwp_over_radius, np.nan), where=cloudy) * 1e6
    return {"cot": np.where(cloudy, mean_cot, np.nan), "cer": cer, "cover": block_mean((cot > 0.0).astype(float))}


def fractal_field(size: int, rng: np.random.Generator) -> Plane:
    """Return a Gaussian field of unit variance with 2-D power k^-8/3, and k^-11/3 below the layer thickness."""
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    bend = max(size * PIXEL_M / SUBPIXELS / LAYER_M, MIN_WAVENUMBER)
    # No structure larger than a third of the domain: otherwise a single cloud would fill the scene.
    usable = np.maximum(k, MIN_WAVENUMBER)
    power = np.where(k >= MIN_WAVENUMBER, usable ** (-8 / 3) / np.maximum(usable / bend, 1.0), 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * np.sqrt(power), s=(size, size))
    return np.asarray(field / field.std())


def liquid_water(size: int, rng: np.random.Generator, conditions: SceneConditions) -> Plane:
    """Return liquid water path (kg m-2): zero in 1 - ``cover`` of the area, mean ``water_path`` inside cloud."""
    field = np.exp(conditions.log_spread * fractal_field(size, rng))
    excess = np.maximum(field - np.quantile(field, 1.0 - conditions.cover), 0.0)
    return np.asarray(excess * (conditions.water_path / excess[excess > 0.0].mean()))


def effective_radius(water: Plane, entrainment: Plane, conditions: SceneConditions) -> Plane:
    """Return cloud-top effective radius (m): adiabatic, with correlated lognormal scatter, 4 to 25 um."""
    # The floor avoids a radius of zero, by which the optical thickness is divided, in clear columns.
    top_water = np.sqrt(2.0 * ADIABATIC_KG_M4 * np.maximum(water, 1e-6))
    adiabatic = np.cbrt(3.0 * top_water / (4.0 * np.pi * WATER_KG_M3 * DROPLET_SPECTRUM * conditions.droplets))
    return np.asarray(np.clip(adiabatic * np.exp(conditions.scatter * entrainment), 4e-6, 25e-6))


def direct_illumination(water: Plane, cot: Plane, conditions: SceneConditions) -> Plane:
    """Return sunlight on the top of each column relative to a level, unshaded one: slopes and shadows, sun in the west.

    West is column 0. The beam that reaches a top is traced up-sun, where it climbs by cot(sza) per meter; in each
    cloudy column that it crosses it is attenuated by that column's extinction, scaled by 1 - g^2 because
    forward-scattered light is not lost.
    """
    step = PIXEL_M / SUBPIXELS
    height = np.sqrt(2.0 * water / ADIABATIC_KG_M4)
    climb = 1.0 / np.tan(np.radians(conditions.sza))
    slope = (np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)) / (2.0 * step)
    facing = np.clip(1.0 + slope / climb, 0.0, 2.2)
    extinction = (1.0 - ASYMMETRY**2) * cot / np.maximum(height, step)
    start = np.where(height > 0.0, height, -conditions.base_m)
    crossing = extinction * step / np.sin(np.radians(conditions.sza))
    blocks = [slice(first, first + ROWS_IN_CACHE) for first in range(0, len(height), ROWS_IN_CACHE)]
    path_tau = np.concatenate([trace_beams(start[rows], height[rows], crossing[rows], climb) for rows in blocks])
    return np.asarray(DIFFUSE_FRACTION + (1.0 - DIFFUSE_FRACTION) * facing * np.exp(-path_tau))


def trace_beams(start: Plane, height: Plane, crossing: Plane, climb: float) -> Plane:
    """Return the optical thickness that beams from ``start`` (m) cross on their way west; scenes are periodic.

    :param height: cloud tops (m); ``crossing``: optical thickness of the part of a beam within one column.
    :param climb: what a beam climbs per meter.
    """
    step = PIXEL_M / SUBPIXELS
    size = height.shape[1]
    west_height, west_crossing = (np.concatenate([plane, plane], axis=1) for plane in (height, crossing))
    path_tau, ray = np.zeros_like(height), np.empty_like(height)
    for columns in range(1, int((height.max() - start.min()) / (climb * step)) + 1):
        np.add(start, columns * step * climb, out=ray)
        shift = -columns % size
        crossed = ray < west_height[:, shift : shift + size]
        crossed &= ray > 0.0
        np.add(path_tau, west_crossing[:, shift : shift + size], out=path_tau, where=crossed)
    return path_tau


def band_reflectance(
    cot: Plane, radius: Plane, illumination: Plane, conditions: SceneConditions, *, index: int
) -> Plane:
    """Return the reflectance of one band at the fine scale, illuminated by ``light`` and smoothed horizontally."""
    absorption = 4.0 * np.pi * IMAGINARY_INDEX[index] / LAMBDA_M[index]
    single_albedo = 1.0 - np.clip(0.85 * absorption * radius, 1e-6, 0.2)
    cloud = two_stream(cot, single_albedo, np.cos(np.radians(conditions.sza)), conditions.albedo)
    return smooth_radiatively(cloud * illumination, cot, mean_absorption=float(1.0 - single_albedo.mean()))


def haze_reflectance(haze: Plane, index: int) -> Plane:
    """Return the haze reflectance of a band; it is much lower at the longer wavelength (Angstrom exponent near 1.3)."""
    return np.asarray(haze * (LAMBDA_M[0] / LAMBDA_M[index]) ** 1.3)


def two_stream(tau: Plane, single_albedo: Plane, mu0: float, albedo: float) -> Plane:
    """Return the albedo of a cloud layer over a Lambertian surface, for a beam at cosine ``mu0``.

    Meador and Weaver 1980: equations 14 and 15 for the beam, the solution of the same equations for diffuse light
    between cloud and surface, quadrature coefficients. g3 stays positive for solar zenith angles above 47 degrees.
    """
    root = np.sqrt(3.0)
    g1 = root * (2.0 - single_albedo * (1.0 + ASYMMETRY)) / 2.0
    g2 = root * single_albedo * (1.0 - ASYMMETRY) / 2.0
    g3 = (1.0 - root * ASYMMETRY * mu0) / 2.0
    g4 = 1.0 - g3
    k = np.sqrt(g1 * g1 - g2 * g2)
    a1, a2 = g1 * g4 + g2 * g3, g1 * g3 + g2 * g4
    up, down, beam = np.exp(k * tau), np.exp(-k * tau), np.exp(-tau / mu0)
    bottom = (k + g1) * up + (k - g1) * down
    scale = single_albedo / ((1.0 - (k * mu0) ** 2) * bottom)
    rise = (1.0 - k * mu0) * (a2 + k * g3) * up - (1.0 + k * mu0) * (a2 - k * g3) * down
    reflected = scale * (rise - 2.0 * k * (g3 - a2 * mu0) * beam)
    fall = (1.0 + k * mu0) * (a1 + k * g4) - (1.0 - k * mu0) * (a1 - k * g4) * np.exp(-2.0 * k * tau)
    passed = beam + scale * (2.0 * k * (g4 + a1 * mu0) - (fall * up * beam))
    bounce = g2 * (up - down) / bottom
    through = 2.0 * k / bottom
    # The two-stream transmittance can leave 0 to 1 slightly where the layer is very thin.
    return np.asarray(reflected + np.clip(passed, 0.0, 1.0) * albedo * through / (1.0 - albedo * bounce))


def smooth_radiatively(plane: Plane, cot: Plane, *, mean_absorption: float) -> Plane:
    """Apply radiative smoothing: exponential kernel of scale h / sqrt((1 - g) COT), h 500 m, COT the cloudy mean."""
    thick = float(cot[cot > CLEAR_BELOW_COT].mean()) if (cot > CLEAR_BELOW_COT).any() else 1.0
    scale = LAYER_M / np.sqrt((1.0 - ASYMMETRY) * thick) / (1.0 + 20.0 * mean_absorption)
    size = len(plane)
    distance = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size, 1.0 / size) * PIXEL_M / SUBPIXELS] * 2))
    kernel = np.exp(-distance / scale)
    spread = np.fft.irfft2(np.fft.rfft2(plane) * np.fft.rfft2(kernel / kernel.sum()), s=plane.shape)
    # Photons scattered back at the cloud top have not traveled sideways; their share (0.6) is not smoothed.
    return np.asarray(0.6 * plane + 0.4 * spread)


def add_sensor_noise(plane: Plane, rng: np.random.Generator, conditions: SceneConditions) -> Plane:
    """Apply 2 % gain error and photon noise of 1 % at reflectance 1; the result is never below zero."""
    gain = 1.0 + 0.02 * rng.standard_normal()
    noise = conditions.noise * np.sqrt(np.maximum(plane, 0.01)) * rng.standard_normal(plane.shape)
    return np.asarray(np.maximum(plane * gain + noise, 0.001))


def block_mean(plane: Plane) -> Plane:
    """Return means over SUBPIXELS x SUBPIXELS fine pixels."""
    size = len(plane) // SUBPIXELS
    return np.asarray(plane.reshape(size, SUBPIXELS, size, SUBPIXELS).mean(axis=(1, 3)))
