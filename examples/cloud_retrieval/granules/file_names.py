"""File names of granules and tracks, and the pairing of granules with tracks.

    VNP02MOD.A2013002.1542.001.2017290180216.nc      radiances; year, day of year, hour and minute of the first line
    VNP03MOD.A2013002.1542.001.2017290180216.nc      geolocation and times
    CAL_LID_L2_01kmCLay-Standard-V4-10.2013-01-02T15-03-57ZD.hdf     half an orbit, starting at that second
    CAL_LID_L2_05kmMLay-Standard-V4-10.2013-01-02T15-03-57ZD.hdf     its layers found in averages over 5 km and more
    CAL_2013-01-02T15-03-57ZD_VNP_2013002.1542_Index.h5              a collocation of the two

Near-real-time granules of LANCE (VNP02MOD_NRT) and subsets ordered from ASDC (...ZD_Subset.hdf) are read, too; of
several files of one granule or track the standard and whole one, of several such the first by name. Every other file
is reported by name, with the reason why it is not read.

VJ1 (NOAA-20) and VJ2 (NOAA-21) files are read as well as VNP files: the layout is the same. All three are divided into
granules at the same minutes, so the key of a granule is its time, 2013002.1542, and for VJ1 and VJ2 it is preceded by
the platform: VJ1_2018153.1542.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from retrieval import s3_staging, scenes
from retrieval.scenes import SceneError

SWATH_NAME = re.compile(r"(V(?:NP|J1|J2))0([23])MOD(?:_NRT)?\.A(\d{7}\.\d{4})\..*\.nc")
LIDAR_TIME = r".*\.(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ[DN])(?:_Subset)?\.hdf"
TRACK_NAME = re.compile(rf"CAL_LID_L2_01kmCLay-{LIDAR_TIME}")
LAYER_NAME = re.compile(rf"CAL_LID_L2_05kmMLay-{LIDAR_TIME}")
# Products of the same instruments that are not read.
PRODUCT_NAME = re.compile(r"(V(?:NP|J1|J2)\d\d[A-Za-z0-9]+|CAL_(?:LID|IIR|WFC)_L\w+)[-_.]")
INDEX_NAME = re.compile(r"CAL_(.+)_(V(?:NP|J1|J2))_(\d{7}\.\d{4})_Index\.h5")
UNKNOWN_NAME = "not the name of a granule, a track or an index file"
GRANULE_DURATION = timedelta(minutes=6)
TRACK_DURATION = timedelta(minutes=60)  # a day or night half of an orbit takes 46 to 53


@dataclass(frozen=True)
class GranulePair:
    """A granule and the tracks that may cross it: file names relative to ``root``, and the index among all pairs.

    ``layers``: files of 5 km layers of some of the tracks.
    """

    root: str
    key: str
    radiances: str
    geolocation: str
    tracks: tuple[str, ...]
    index_files: tuple[str, ...]
    index: int
    layers: tuple[str, ...] = ()

    @property
    def swath_files(self) -> tuple[str, str]:
        """The two files of the granule."""
        return self.radiances, self.geolocation

    @property
    def observation_files(self) -> tuple[str, ...]:
        """The files of granule and tracks."""
        return (*self.swath_files, *self.tracks, *self.layers)

    def layer_file(self, track: str) -> str | None:
        """Return the file of 5 km layers of a track; None if there is none."""
        return next((name for name in self.layers if track_key(name) == track_key(track)), None)

    @property
    def all_files(self) -> tuple[str, ...]:
        """All files, index files included."""
        return (*self.observation_files, *self.index_files)


@dataclass(frozen=True)
class TrackFiles:
    """Names of all tracks, of their 5 km layers, and of index files."""

    tracks: tuple[str, ...]
    layers: tuple[str, ...]
    indices: tuple[str, ...]


@dataclass(frozen=True)
class FileSurvey:
    """Granules with their tracks, and the reason for each file that is not read, by name."""

    pairs: tuple[GranulePair, ...]
    unread: dict[str, str]


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
    """Return ``2013-01-02T15-03-57ZD`` from the file name of a track, or of its 5 km layers."""
    parsed = TRACK_NAME.fullmatch(base_name(name)) or LAYER_NAME.fullmatch(base_name(name))
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
    return survey_files(root, minutes=minutes).pairs


def survey_files(root: str, *, minutes: float) -> FileSurvey:
    """Return the granules below ``root`` that a track may cross within ``minutes``, and the files that are not read.

    :raises SceneError: as :func:`find_pairs`.
    """
    names = sorted(list_files(root), key=preference)
    swaths: dict[str, dict[str, str]] = {}
    lidar: dict[str, dict[str, str]] = {"tracks": {}, "layers": {}}
    for name in (name for name in names if file_time(name)):
        if parsed := SWATH_NAME.fullmatch(base_name(name)):
            swaths.setdefault(granule_key(parsed[1], parsed[3]), {}).setdefault(parsed[2], name)
        else:
            kind = "tracks" if TRACK_NAME.fullmatch(base_name(name)) else "layers"
            lidar[kind].setdefault(track_key(name), name)
    if not swaths:
        raise SceneError(f"{root}: no granule found (VNP02MOD.A*.nc and VNP03MOD.A*.nc)")
    check_complete(root, swaths)
    indices = sorted(name for name in names if INDEX_NAME.fullmatch(base_name(name)))
    files = TrackFiles(tuple(sorted(lidar["tracks"].values())), tuple(sorted(lidar["layers"].values())), tuple(indices))
    # Sorted by key first: granules of two satellites at the same minute always get the same order.
    in_time = sorted(sorted(swaths), key=granule_time)
    pairs = [match_tracks(root, key, swaths[key], files, minutes) for key in in_time]
    crossed = [pair for pair in pairs if pair.tracks]
    if not crossed:
        raise SceneError(f"{root}: no track within {minutes:g} minutes of any granule (CAL_LID_L2_01kmCLay-*.hdf)")
    numbered = tuple(replace(pair, index=index) for index, pair in enumerate(crossed))
    return FileSurvey(numbered, unread_files(sorted(names), numbered, minutes))


def preference(name: str) -> tuple[bool, str]:
    """Return a sort key that puts whole files of the standard products before others."""
    return "MOD_NRT." in base_name(name) or "_Subset." in base_name(name), name


def file_time(name: str) -> datetime | None:
    """Return the time in the name of a granule, a track or its 5 km layers; None for other names, and other times."""
    try:
        if parsed := SWATH_NAME.fullmatch(base_name(name)):
            return granule_time(parsed[3])
        is_lidar = TRACK_NAME.fullmatch(base_name(name)) or LAYER_NAME.fullmatch(base_name(name))
        return track_time(name) if is_lidar else None
    except ValueError:
        # Digits that are no date, such as day 400 of a year.
        return None


def check_complete(root: str, swaths: dict[str, dict[str, str]]) -> None:
    """Raise SceneError with a line for each granule that lacks one of its two files."""
    lines = []
    for key, parts in sorted(swaths.items()):
        if len(parts) < 2:
            missing = f"{platform_key(key)[:3]}0{'3' if '2' in parts else '2'}MOD"
            lines.append(f"{root}: granule {key} has no {missing} file")
    if lines:
        raise SceneError("\n".join(lines))


def unread_files(names: Iterable[str], pairs: Iterable[GranulePair], minutes: float) -> dict[str, str]:
    """Return the reason for each file that no granule uses."""
    used = {name for pair in pairs for name in pair.all_files}
    by_content = {content_key(name): name for name in used}
    return {name: reason_unread(name, by_content, minutes) for name in names if name not in used}


def reason_unread(name: str, by_content: Mapping[tuple[str, ...], str], minutes: float) -> str:
    """Return the reason why a file is not read; ``by_content``: the files that are."""
    content = content_key(name)
    kind = content[0]
    if kind == "other":
        product = PRODUCT_NAME.match(base_name(name))
        return f"{product[1]} is not used" if product else UNKNOWN_NAME
    if kind != "index" and not file_time(name):
        return "its name holds no date"
    if content in by_content:
        return f"{by_content[content]} is read instead"
    reasons = {"index": "no such granule and track here", "layers": "no track of the same time is read"}
    return reasons.get(kind, f"no {'track' if kind == 'swath' else 'granule'} within {minutes:g} minutes")


def content_key(name: str) -> tuple[str, ...]:
    """Return kind and identity of a file: equal for two files of the same product of the same time."""
    forms = {"swath": SWATH_NAME, "track": TRACK_NAME, "layers": LAYER_NAME, "index": INDEX_NAME}
    for kind, form in forms.items():
        if parsed := form.fullmatch(base_name(name)):
            return (kind, *parsed.groups())
    return ("other", name)


def match_tracks(root: str, key: str, parts: dict[str, str], files: TrackFiles, minutes: float) -> GranulePair:
    """Return a granule with the tracks that may cross it in time, and with the other files of these tracks."""
    start, slack = granule_time(key), timedelta(minutes=minutes)
    tracks = tuple(
        name
        for name in files.tracks
        if track_time(name) - slack <= start + GRANULE_DURATION and start - slack <= track_time(name) + TRACK_DURATION
    )
    keys = {track_key(name) for name in tracks}
    indices = tuple(name for name in files.indices if parse_index_name(name) in {(track, key) for track in keys})
    layers = tuple(name for name in files.layers if track_key(name) in keys)
    return GranulePair(root, key, parts["2"], parts["3"], tracks, indices, 0, layers)


def parse_index_name(name: str) -> tuple[str, str]:
    """Return track and granule of an index file, from its name."""
    parsed = INDEX_NAME.fullmatch(base_name(name))
    if not parsed:
        raise SceneError(f"{name}: not the name of an index file (CAL_..._VNP_..._Index.h5)")
    return parsed[1], granule_key(parsed[2], parsed[3])


def index_file_name(track: str, key: str) -> str:
    """Return the name of the index file of a track and a granule."""
    return f"CAL_{track_key(track)}_{platform_key(key)}_Index.h5"
