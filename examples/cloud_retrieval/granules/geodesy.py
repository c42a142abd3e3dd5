"""Points on the sphere as unit vectors, which have no singularity at the date line or the poles; distances as
chords.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EARTH_KM = 6371.0
DAY_SECONDS = 86_400.0


def unit_vectors(latitude: Any, longitude: Any) -> NDArray[np.float64]:
    """Return unit vectors, shape of the arguments + (3,), from degrees."""
    phi, lam = np.radians(np.asarray(latitude, np.float64)), np.radians(np.asarray(longitude, np.float64))
    cosine = np.cos(phi)
    return np.stack([cosine * np.cos(lam), cosine * np.sin(lam), np.sin(phi)], axis=-1)


def lat_lon(vector: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return latitude and longitude (degrees, -180 to 180) of unit vectors."""
    # Rounding can carry the component slightly beyond 1.
    latitude = np.degrees(np.arcsin(np.clip(vector[..., 2], -1.0, 1.0)))
    return latitude, np.degrees(np.arctan2(vector[..., 1], vector[..., 0]))


def chord_length(km: float) -> float:
    """Return the chord between unit vectors that are ``km`` apart on the ground."""
    return float(2.0 * np.sin(min(km / EARTH_KM, np.pi) / 2.0))


def arc_km(chords: Any) -> NDArray[np.float64]:
    """Return the distance on the ground (km) for chords between unit vectors."""
    return np.asarray(2.0 * EARTH_KM * np.arcsin(np.minimum(np.asarray(chords) / 2.0, 1.0)))


def sun_vector(seconds: float, day_of_year: int) -> NDArray[np.float64]:
    """Return the earth-fixed unit vector to the sun, ``seconds`` after midnight UTC; without the equation of time."""
    declination = -23.44 * np.cos(2.0 * np.pi * (day_of_year + 10) / 365.25)
    return unit_vectors(declination, 180.0 - 360.0 * seconds / DAY_SECONDS)
