"""Reflectance of homogeneous, plane-parallel clouds over a Lambertian surface, by adding and doubling.

Hansen and Travis 1974 (Space Sci. Rev. 16, 527), Henyey-Greenstein phase function with delta-M scaling (Wiscombe 1977),
averaged over azimuth. At nadir, the viewing direction of the large-eddy scenes, the azimuth does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]

STREAMS = 12
THINNEST = 2.0**-16


@dataclass(frozen=True)
class Angles:
    """Cosines of Gauss points, then of sun and sensor, and weights 2 x cosine x Gauss weight (0 for the last two)."""

    cosines: Matrix
    weights: Matrix

    def times(self, left: Matrix, right: Matrix) -> Matrix:
        """Return the product of two layers' matrices: integral over the directions between them."""
        return np.asarray(left @ (self.weights[:, None] * right))


def build_angles(sun: float, sensor: float) -> Angles:
    """Return the angles for cosines of solar and viewing zenith angle."""
    points, weights = np.polynomial.legendre.leggauss(STREAMS)
    cosines = np.concatenate([(points + 1.0) / 2.0, [sun, sensor]])
    return Angles(cosines, np.concatenate([cosines[:-2] * weights, [0.0, 0.0]]))


def phase_matrices(asymmetry: float, angles: Angles) -> tuple[Matrix, Matrix]:
    """Return the azimuthal mean of the phase function between directions: reflected, transmitted."""
    orders = np.arange(2 * STREAMS)
    truncated = asymmetry ** (2 * STREAMS)
    moments = (asymmetry**orders - truncated) / (1.0 - truncated) * (2 * orders + 1)
    polynomials = np.polynomial.legendre.legvander(angles.cosines, 2 * STREAMS - 1)
    transmitted = (polynomials * moments) @ polynomials.T
    reflected = (polynomials * moments * (-1.0) ** orders) @ polynomials.T
    return reflected, transmitted


def reflectances(tau: Matrix, single_albedo: float, asymmetry: float, angles: Angles, surface_albedo: float) -> Matrix:
    """Return the reflectance from sun to sensor for layers of some optical thicknesses."""
    truncated = asymmetry ** (2 * STREAMS)
    scaled = np.asarray(tau) * (1.0 - single_albedo * truncated)
    albedo = single_albedo * (1.0 - truncated) / (1.0 - single_albedo * truncated)
    phases = phase_matrices(asymmetry, angles)
    return np.array([layer_reflectance(thickness, albedo, phases, angles, surface_albedo) for thickness in scaled])


def layer_reflectance(
    tau: float, single_albedo: float, phases: tuple[Matrix, Matrix], angles: Angles, surface_albedo: float
) -> float:
    """Return the reflectance from sun to sensor of one layer and the surface below."""
    doublings = max(int(np.ceil(np.log2(tau / THINNEST))), 0)
    thin = tau / 2.0**doublings
    inverse = 1.0 / angles.cosines
    scale = single_albedo * thin / 4.0 * inverse[:, None] * inverse[None, :]
    reflected, transmitted = (scale * phase for phase in phases)
    for _ in range(doublings):
        direct = np.exp(-thin * inverse)
        reflected, transmitted = double(reflected, transmitted, direct, angles)
        thin *= 2.0
    through = np.exp(-tau * inverse) + angles.weights @ transmitted
    spherical = float(angles.weights @ (angles.weights @ reflected))
    bounced = through[-1] * through[-2] * surface_albedo / (1.0 - surface_albedo * spherical)
    return float(reflected[-1, -2] + bounced)


def double(reflected: Matrix, transmitted: Matrix, direct: Matrix, angles: Angles) -> tuple[Matrix, Matrix]:
    """Return reflection and diffuse transmission of two equal layers."""
    once = angles.times(reflected, reflected)
    # The sum of all orders of reflection between the layers; the last two directions carry no weight.
    repeated = np.linalg.solve(np.eye(len(direct)) - once * angles.weights[None, :], once)
    down = transmitted + repeated * direct[None, :] + angles.times(repeated, transmitted)
    up = reflected * direct[None, :] + angles.times(reflected, down)
    return (
        reflected + direct[:, None] * up + angles.times(transmitted, up),
        direct[:, None] * down + transmitted * direct[None, :] + angles.times(transmitted, down),
    )
