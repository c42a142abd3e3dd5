"""File names of granules and tracks, and the pairing of granules with tracks.

    VNP02MOD.A2013002.1542.001.2017290180216.nc      radiances; year, day of year, hour and minute of the first line
    VNP03MOD.A2013002.1542.001.2017290180216.nc      geolocation and times
    CAL_LID_L2_01kmCLay-Standard-V4-10.2013-01-02T15-03-57ZD.hdf     half an orbit, starting at that second
    CAL_2013-01-02T15-03-57ZD_VNP_2013002.1542_Index.h5              a collocation of the two

VJ1 (NOAA-20) and VJ2 (NOAA-21) files are read as well as VNP files: the layout is the same. All three are divided into
granules at the same minutes, so the key of a granule is its time, 2013002.1542, and for VJ1 and VJ2 it is preceded by
the platform: VJ1_2018153.1542.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retrieval import s3_staging, scenes
from retrieval.scenes import SceneError

SWATH_NAME = re.compile(r"(V(?:NP|J1|J2))0([23])MOD\.A(\d{7}\.\d{4})\..*\.nc")
TRACK_NAME = re.compile(r"CAL_LID_L2_01kmCLay-.*\.(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ[DN])\.hdf")
INDEX_NAME = re.compile(r"CAL_(.+)_(V(?:NP|J1|J2))_(\d{7}\.\d{4})_Index\.h5")
GRANULE_DURATION = timedelta(minutes=6)
TRACK_DURATION = timedelta(minutes=60)  # a day or night half of an orbit takes 46 to 53


@dataclass(frozen=True)
class GranulePair:
    """A granule and the tracks that may cross it: file names relative to ``root``, and the index among all pairs."""

    root: str
    key: str
    radiances: str
    geolocation: str
    tracks: tuple[str, ...]
    index_files: tuple[str, ...]
    index: int

    @property
    def swath_files(self) -> tuple[str, str]:
        """The two files of the granule."""
        return self.radiances, self.geolocation

    @property
    def observation_files(self) -> tuple[str, ...]:
        """The files of granule and tracks."""
        return (*self.swath_files, *self.tracks)

    @property
    def all_files(self) -> tuple[str, ...]:
        """All files, index files included."""
        return (*self.observation_files, *self.index_files)


def granule_time(key: str) -> datetime:
    """Return the time of the first line of a granule, from a key such as ``2013002.1542``."""
    return datetime.strptime(key[-12:], "%Y%j.%H%M").replace(tzinfo=UTC)


def granule_key(platform: str, time: str) -> str:
    """Return the key of a granule of ``VNP``, ``VJ1`` or ``VJ2``."""
    return time if platform == "VNP" else f"{platform}_{time}"


def platform_key(key: str) -> str:
    """Return the key of a granule with its platform, VNP included."""
    return key if "_" in key else f"VNP_{key}"


def track_time(name: str) -> datetime:
    """Return the time of the first profile of a track, from its file name."""
    return datetime.strptime(track_key(name)[:19], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC)


def track_key(name: str) -> str:
    """Return ``2013-01-02T15-03-57ZD`` from the file name of a track."""
    parsed = TRACK_NAME.fullmatch(base_name(name))
    if not parsed:
        raise SceneError(f"{name}: not the name of a 1 km cloud layer file (CAL_LID_L2_01kmCLay-...hdf)")
    return parsed[1]


def base_name(name: str) -> str:
    """Return a file name without its folders."""
    return name.rsplit("/", 1)[-1]


def list_files(root: str) -> list[str]:
    """Return all file names below a folder or S3 prefix, relative to it.

    :raises SceneError: if the location does not exist.
    """
    if s3_staging.is_remote(root):
        with s3_staging.translate_errors(root, SceneError):
            return s3_staging.list_keys(root)
    path = scenes.resolve_path(root, "")
    if not path.is_dir():
        raise SceneError(f"{root}: no such folder; make_granules.py creates sample granules")
    return [entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()]


def find_pairs(root: str, *, minutes: float) -> tuple[GranulePair, ...]:
    """Return the granules below ``root`` that a track may cross within ``minutes``, in order of time.

    :raises SceneError: if there are none, or a granule lacks one of its two files.
    """
    names = sorted(list_files(root))
    swaths: dict[str, dict[str, str]] = {}
    for name in names:
        if parsed := SWATH_NAME.fullmatch(base_name(name)):
            swaths.setdefault(granule_key(parsed[1], parsed[3]), {}).setdefault(parsed[2], name)
    tracks = [name for name in names if TRACK_NAME.fullmatch(base_name(name))]
    indices = [name for name in names if INDEX_NAME.fullmatch(base_name(name))]
    if not swaths:
        raise SceneError(f"{root}: no granule found (VNP02MOD.A*.nc and VNP03MOD.A*.nc)")
    incomplete = [key for key, parts in swaths.items() if len(parts) < 2]
    if incomplete:
        missing = f"{platform_key(incomplete[0])[:3]}0{'3' if '2' in swaths[incomplete[0]] else '2'}MOD"
        raise SceneError(f"{root}: granule {incomplete[0]} has no {missing} file")
    # Sorted by key first: granules of two satellites at the same minute always get the same order.
    in_time = sorted(sorted(swaths), key=granule_time)
    pairs = [match_tracks(root, key, swaths[key], (tracks, indices), minutes) for key in in_time]
    crossed = [pair for pair in pairs if pair.tracks]
    if not crossed:
        raise SceneError(f"{root}: no track within {minutes:g} minutes of any granule (CAL_LID_L2_01kmCLay-*.hdf)")
    return tuple(number_pairs(crossed))


def number_pairs(pairs: Iterable[GranulePair]) -> Iterable[GranulePair]:
    """Yield the pairs with consecutive indices."""
    for index, pair in enumerate(pairs):
        yield GranulePair(pair.root, pair.key, pair.radiances, pair.geolocation, pair.tracks, pair.index_files, index)


def match_tracks(
    root: str, key: str, parts: dict[str, str], tracks_and_indices: tuple[list[str], list[str]], minutes: float
) -> GranulePair:
    """Return a granule with the tracks that may cross it in time, and with the index files of these tracks."""
    start, slack = granule_time(key), timedelta(minutes=minutes)
    tracks = tuple(
        name
        for name in tracks_and_indices[0]
        if track_time(name) - slack <= start + GRANULE_DURATION and start - slack <= track_time(name) + TRACK_DURATION
    )
    keys = {(track_key(name), key) for name in tracks}
    indices = tuple(name for name in tracks_and_indices[1] if parse_index_name(name) in keys)
    return GranulePair(root, key, parts["2"], parts["3"], tracks, indices, 0)


def parse_index_name(name: str) -> tuple[str, str]:
    """Return track and granule of an index file, from its name."""
    parsed = INDEX_NAME.fullmatch(base_name(name))
    if not parsed:
        raise SceneError(f"{name}: not the name of an index file (CAL_..._VNP_..._Index.h5)")
    return parsed[1], granule_key(parsed[2], parsed[3])


def index_file_name(track: str, key: str) -> str:
    """Return the name of the index file of a track and a granule."""
    return f"CAL_{track_key(track)}_{platform_key(key)}_Index.h5"
