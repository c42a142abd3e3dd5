"""Intervals of scores and of differences between retrievals, by resampling tiles (percentile bootstrap).

Neighboring pixels have similar errors. Resampling pixels would take them for independent and give intervals that are
too narrow, so whole tiles are drawn. Differences are paired: both retrievals are scored on the same draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

DRAWS = 2000
PERCENTILES = (2.5, 97.5)
# With fewer tiles the percentiles say nothing.
FEWEST_TILES = 8


def tile_draws(tiles: int) -> Values:
    """Return how often each tile is in each draw, (draws, tiles)."""
    rng = np.random.default_rng(tiles)
    return np.asarray(rng.multinomial(tiles, np.full(tiles, 1.0 / tiles), size=DRAWS), dtype=np.float64)


def interval(values: Values) -> list[float] | None:
    """Return the interval of 95% of some draws; None if a draw has no value."""
    if not np.isfinite(values).all():
        return None
    return [float(value) for value in np.percentile(values, PERCENTILES)]


def intervals(scores: dict[str, Values]) -> dict[str, Any]:
    """Return the interval of each score over its draws."""
    return {name: interval(values) for name, values in scores.items()}
