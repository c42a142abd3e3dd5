"""Synthetic granules, and a run on one machine, shared by the tests of the granules job."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.examples.example_data import CLOUD_RETRIEVAL, ignore_log, missing_packages

if TYPE_CHECKING:
    from granules.file_names import GranulePair
    from granules.pipeline import GranulesResult, Options
    from granules.viirs import Granule

# The job's modules are imported from its folder, as its scripts do.
sys.path.insert(0, str(CLOUD_RETRIEVAL))
MISSING = missing_packages(("scipy", "sklearn", "h5py", "netCDF4", "pyhdf", "matplotlib", "distributed"))
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str | None:
    """Return the reason why tests are left out."""
    return f"granules: left out for lack of {', '.join(MISSING)}" if MISSING else None


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic pairs of 160 x 160 pixels: one of middle latitudes, one that extends into twilight."""
    from simulation import synthetic_granules

    folder = tmp_path_factory.mktemp("pairs")
    list(synthetic_granules.write_pairs(folder, count=2, size=synthetic_granules.GranuleSize(160, 160, 260), seed=5))
    return folder


@pytest.fixture(scope="session")
def pair(pair_folder: Path) -> GranulePair:
    """The first pair."""
    from granules import file_names

    return file_names.find_pairs(str(pair_folder), minutes=15.0)[0]


@pytest.fixture
def granule(pair_folder: Path, pair: GranulePair) -> Iterator[Granule]:
    """The first granule, open."""
    from granules import viirs

    paths = [pair_folder / name for name in pair.swath_files]
    with viirs.open_granule(paths[0], paths[1], label="granule") as opened:
        yield opened


@pytest.fixture(scope="session")
def granule_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic pairs of 160 x 128 pixels."""
    import make_granules

    folder = tmp_path_factory.mktemp("work") / "data"
    assert make_granules.main(["--out", str(folder), "--granules", "4", "--lines", "160", "--pixels", "128"]) == 0
    return folder


@pytest.fixture(scope="session")
def quick_options(granule_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options for a run of a few seconds."""
    from granules.pipeline import Options

    return Options(data=str(granule_folder), out=tmp_path_factory.mktemp("local"), folds=2, trees=8, maps=2)


@pytest.fixture(scope="session")
def local_result(quick_options: Options) -> GranulesResult:
    """The result of a run on this machine, with all files written."""
    from granules import granule_figure, granule_report, pipeline

    result = pipeline.run(quick_options, ignore_log)
    granule_report.write_metrics(result)
    granule_figure.draw_figure(result)
    return result
