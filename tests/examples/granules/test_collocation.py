"""Block pruning finds the matches of a tree over all pixels, also at poles and the date line; limits are inclusive."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from granules import collocation, geodesy
from granules.collocation import Swath, Track
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import orbit


def full_tree(swath: Swath, track: Track, km: float, minutes: float) -> tuple[Any, Any, Any]:
    """Return profile, chord and flat pixel of all matches by a tree over all pixels: the reference."""
    from scipy.spatial import cKDTree

    usable = np.isfinite(swath.latitude) & np.isfinite(swath.longitude)
    if swath.usable is not None:
        usable &= swath.usable
    flat = np.flatnonzero(usable)
    latitude, longitude = (plane.ravel()[flat] for plane in (swath.latitude, swath.longitude))
    bound = np.nextafter(geodesy.chord_length(km), np.inf)
    tree = cKDTree(geodesy.unit_vectors(latitude, longitude))
    chords, found = tree.query(geodesy.unit_vectors(track.latitude, track.longitude), distance_upper_bound=bound)
    profile = np.flatnonzero(np.isfinite(chords))
    pixel = flat[found[profile]]
    late = (track.time[profile] - swath.time[pixel // swath.latitude.shape[1]]) / 60.0
    near = np.abs(late) <= minutes
    return profile[near], chords[profile[near]], pixel[near]


@settings(max_examples=60, deadline=None)
@given(
    argument=st.floats(-180.0, 180.0),
    moment=st.integers(0, 23),
    east=st.floats(-30.0, 30.0),
    late=st.floats(-20.0, 20.0),
    first=st.sampled_from([0, 1200, 1550, 2900]),
    holes=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_block_pruning_finds_what_a_tree_over_all_pixels_finds(
    argument: float, moment: int, east: float, late: float, first: int, holes: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    flight = orbit.swath_pass(datetime(2013, 1, 2, moment), argument)
    scans, columns = np.arange(8), slice(first, first + 300)
    ground = orbit.scan_geometry(flight, scans, 8, columns).ground
    latitude, longitude = (plane.astype(np.float32) for plane in geodesy.lat_lon(ground))
    if holes:
        latitude[rng.random(latitude.shape) < 0.1] = np.nan
    usable = rng.random(latitude.shape) < 0.9 if holes else None
    times = np.repeat(flight.middle_s + (scans - 3.5) * orbit.SCAN_SECONDS, 16)
    swath = Swath(latitude, longitude, times, usable)
    # A track through a pixel of the swath, at any heading, that leaves the swath on both sides.
    through, heading = ground[rng.integers(128), rng.integers(300)], rng.standard_normal(3)
    along = np.cross(through, heading)
    way = np.linspace(-0.06, 0.06, 400)[:, None]
    points = np.cos(way) * through + np.sin(way) * along / np.linalg.norm(along)
    track = Track(*geodesy.lat_lon(points), flight.middle_s + 60.0 * late + np.linspace(-60.0, 60.0, 400) * east)

    found = collocation.collocate(swath, track, km=5.0, minutes=15.0)

    profile, chords, pixel = full_tree(swath, track, 5.0, 15.0)
    flat = found.line * 300 + found.pixel
    assert found.profile.tolist() == profile.tolist()
    assert found.km == pytest.approx(geodesy.arc_km(chords), abs=1e-9)
    # A different pixel is allowed only if both are equally far.
    others = flat != pixel
    gap = np.linalg.norm(unit_of(swath, flat[others]) - unit_of(swath, pixel[others]), axis=1)
    assert (found.km[others] == pytest.approx(geodesy.arc_km(chords[others]), abs=1e-9)) or not gap.any()


def unit_of(swath: Swath, flat: Any) -> Any:
    """Return unit vectors of flat pixels."""
    return geodesy.unit_vectors(swath.latitude.ravel()[flat], swath.longitude.ravel()[flat])


@pytest.mark.parametrize(("latitude", "longitude"), [(90.0, 0.0), (-90.0, 77.0), (0.0, 180.0), (65.0, -180.0)])
def test_poles_and_date_line_need_no_special_treatment(latitude: float, longitude: float) -> None:
    centre = geodesy.unit_vectors(latitude, longitude)
    side = np.cross(centre, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    ahead = np.cross(centre, side)
    grid = (np.arange(-40, 40) + 0.5) * 0.75 / geodesy.EARTH_KM
    ground = centre + grid[:, None, None] * ahead + grid[None, :, None] * side
    ground /= np.linalg.norm(ground, axis=-1, keepdims=True)
    swath = Swath(*geodesy.lat_lon(ground), np.zeros(80))
    way = np.linspace(-0.008, 0.008, 60)[:, None]
    points = centre + way * (ahead + 0.3 * side)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    track = Track(*geodesy.lat_lon(points), np.zeros(60))

    found = collocation.collocate(swath, track)

    profile, _, pixel = full_tree(swath, track, 5.0, 15.0)
    assert len(found) > 30
    assert found.profile.tolist() == profile.tolist()
    assert (found.line * 80 + found.pixel).tolist() == pixel.tolist()
    assert found.km.max() <= 5.0


def test_the_time_of_each_line_counts_and_both_limits_are_inclusive() -> None:
    lines = np.zeros((32, 16)) + np.arange(32)[:, None] * 0.01
    swath = Swath(lines, np.zeros((32, 16)) + np.arange(16) * 0.01, np.repeat([0.0, 600.0], 16))
    track = Track(np.array([0.02, 0.02, 0.20, 0.20]), np.full(4, 0.03), np.array([900.0, 900.1, 1500.0, -300.1]))

    found = collocation.collocate(swath, track, minutes=15.0)

    assert found.profile.tolist() == [0, 2]
    assert found.minutes.tolist() == [15.0, 15.0]
    assert (found.line.tolist(), found.pixel.tolist()) == ([2, 20], [3, 3])


def test_a_swath_and_a_track_that_never_meet_have_no_matches() -> None:
    swath = Swath(np.zeros((16, 16)), np.zeros((16, 16)), np.zeros(16))

    assert len(collocation.collocate(swath, Track(np.array([5.0]), np.array([5.0]), np.zeros(1)))) == 0
    assert len(collocation.collocate(swath, Track(np.array([0.0]), np.array([0.0]), np.array([1e6])))) == 0
    nowhere = Swath(np.full((16, 16), np.nan), np.zeros((16, 16)), np.zeros(16))
    assert len(collocation.collocate(nowhere, Track(np.zeros(1), np.zeros(1), np.zeros(1)))) == 0
