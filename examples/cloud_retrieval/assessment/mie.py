"""Scattering by spheres of water (Bohren and Huffman 1983, appendix A), averaged over droplet sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Effective variance of marine stratocumulus and cumulus in look-up tables (Nakajima and King 1990 use similar spectra).
EFFECTIVE_VARIANCE = 0.1
RADII = 160


def efficiencies(size: Values, index: complex) -> tuple[Values, Values, Values]:
    """Return efficiencies of extinction and scattering, and asymmetry, for size parameters in ascending order."""
    stop = int(size[-1] + 4.0 * size[-1] ** (1 / 3) + 2.0) + 1
    ratios = logarithmic_derivatives(index * size, stop)
    psi_old, psi = np.cos(size), np.sin(size)
    chi_old, chi = -np.sin(size), np.cos(size)
    extinction, scattering, asymmetry = (np.zeros(len(size)) for _ in range(3))
    a_old, b_old = np.zeros(len(size), complex), np.zeros(len(size), complex)
    for order in range(1, stop + 1):
        # Upward recurrence is stable only up to orders a little above the size parameter.
        counted = order <= size + 4.0 * size ** (1 / 3) + 2.0
        factor = np.where(counted, (2 * order - 1) / size, 0.0)
        psi_old, psi = psi, factor * psi - psi_old
        chi_old, chi = chi, factor * chi - chi_old
        xi, xi_old = psi - 1j * chi, psi_old - 1j * chi_old
        ratio = ratios[order]
        with np.errstate(divide="ignore", invalid="ignore"):
            a = ((ratio / index + order / size) * psi - psi_old) / ((ratio / index + order / size) * xi - xi_old)
            b = ((ratio * index + order / size) * psi - psi_old) / ((ratio * index + order / size) * xi - xi_old)
        a, b = np.where(counted, a, 0.0), np.where(counted, b, 0.0)
        extinction += (2 * order + 1) * (a + b).real
        scattering += (2 * order + 1) * (abs(a) ** 2 + abs(b) ** 2)
        asymmetry += (2 * order + 1) / (order * (order + 1)) * (a * b.conj()).real
        if order > 1:
            last = order - 1
            asymmetry += last * (last + 2) / (last + 1) * (a_old * a.conj() + b_old * b.conj()).real
        a_old, b_old = a, b
    scale = 2.0 / size**2
    return scale * extinction, scale * scattering, 2.0 * asymmetry / scattering


def logarithmic_derivatives(product: NDArray[Any], stop: int) -> NDArray[Any]:
    """Return the logarithmic derivatives of the Riccati-Bessel functions up to order ``stop``, downwards."""
    start = max(stop, int(abs(product[-1]))) + 16
    values = np.zeros((start + 1, len(product)), complex)
    for order in range(start, 0, -1):
        values[order - 1] = order / product - 1.0 / (values[order] + order / product)
    return values


def droplets(effective_radius_um: float, wavelength_um: float, index: complex) -> tuple[float, float, float]:
    """Return extinction efficiency, single-scattering albedo and asymmetry of a gamma distribution of droplets."""
    radius = np.geomspace(0.05, 4.0, RADII) * effective_radius_um
    # Hansen and Travis 1974: n(r) ~ r^((1 - 3b) / b) exp(-r / (a b)), weighted by area and by logarithmic spacing.
    power = (1.0 - 3.0 * EFFECTIVE_VARIANCE) / EFFECTIVE_VARIANCE
    area = radius ** (power + 3.0) * np.exp(-radius / (effective_radius_um * EFFECTIVE_VARIANCE))
    extinction, scattering, asymmetry = efficiencies(2.0 * np.pi * radius / wavelength_um, index)
    total, scattered = float((area * extinction).sum()), float((area * scattering).sum())
    return total / float(area.sum()), scattered / total, float((area * scattering * asymmetry).sum()) / scattered
