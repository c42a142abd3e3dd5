"""The granules job as a whole: the same result everywhere, honest scores, finished files, plain errors.

Cluster tests use real Dask schedulers and workers, each a process of its own in a folder of its own, over TLS; S3 is a
real server on loopback.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for package in ("numpy", "scipy", "sklearn", "h5py", "netCDF4", "pyhdf", "matplotlib", "distributed"):
    pytest.importorskip(package, reason=f"the granules job needs {package} (requirements.txt of the example)")

ROOT = Path(__file__).parent.parent
JOB = ROOT / "examples" / "cloud_retrieval"
sys.path.insert(0, str(JOB))

import granule_job  # noqa: E402
import make_granules  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
from granules import evaluation, file_names, granule_figure, granule_report, l2_product, pipeline, tasks  # noqa: E402
from granules.forest_model import TARGETS, CloudModel, ColumnRows, ForestSettings  # noqa: E402
from granules.pipeline import (  # noqa: E402
    GranulesResult,
    Options,
)
from retrieval.scenes import SceneError  # noqa: E402
from simulation import synthetic_granules  # noqa: E402
from simulation.synthetic_granules import GranuleSize  # noqa: E402

from tests import dask_cluster  # noqa: E402

SMALL = GranuleSize(160, 128, 240)


def silent(line: str) -> None:
    """Progress that nobody reads."""


def grown(rows: ColumnRows, recipe: ForestSettings, fold: int = 0) -> CloudModel:
    """A model from some rows."""
    return tasks.merge_model(
        {target: [tasks.fit_trees(rows, target, recipe, recipe.seeds(target, fold))] for target in TARGETS}
    )


def hashes(outcome: GranulesResult) -> tuple[str, str]:
    """What must be the same everywhere."""
    return outcome.model_digest, outcome.prediction_digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small synthetic pairs."""
    place = tmp_path_factory.mktemp("work") / "data"
    assert make_granules.main(["--out", str(place), "--granules", "4", "--lines", "160", "--pixels", "128"]) == 0
    return place


@pytest.fixture(scope="module")
def quick(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options for a run of a few seconds."""
    return Options(data=str(folder), out=tmp_path_factory.mktemp("alone"), folds=2, trees=8, maps=2)


@pytest.fixture(scope="module")
def alone(quick: Options) -> GranulesResult:
    """A run on this machine, everything written."""
    outcome = pipeline.run(quick, silent)
    granule_report.write_metrics(outcome)
    granule_figure.draw_figure(outcome)
    return outcome


class Cluster(dask_cluster.Cluster):
    """A cluster that runs this job."""

    def run(self, options: Options, out: Path, say: Callable[[str], None] = silent) -> GranulesResult:
        """The job on this cluster, with the data named relative to the workers' folders."""
        with self.near():
            return pipeline.run(dataclasses.replace(options, data="data", out=out, scheduler=self.address), say)


@pytest.fixture
def many(tmp_path: Path, folder: Path) -> Iterator[Cluster]:
    """A cluster without workers yet."""
    started = Cluster(tmp_path, folder)
    with started.processes:
        yield started


# ---------------------------------------------------------------- the same everywhere


@pytest.mark.slow
def test_one_worker_two_workers_and_a_worker_killed_halfway_give_the_bits_of_a_run_alone(
    many: Cluster, quick: Options, alone: GranulesResult, tmp_path: Path
) -> None:
    many.worker("ml-0")
    one = many.run(quick, tmp_path / "one")
    doomed = many.worker("ml-1")
    many.joined(2)
    two = many.run(quick, tmp_path / "two")

    def kill_once_trees_grow(line: str) -> None:
        if line.startswith("trees") and doomed.poll() is None:
            os.kill(doomed.pid, signal.SIGKILL)
            doomed.wait(dask_cluster.DEADLINE)

    bereft = many.run(quick, tmp_path / "bereft", kill_once_trees_grow)

    assert doomed.poll() == -signal.SIGKILL
    assert (one.client.workers, two.client.workers, bereft.client.workers) == (1, 2, 2)
    assert hashes(one) == hashes(two) == hashes(bereft) == hashes(alone)
    assert evaluation.compute_scores(one.counts, 1) == evaluation.compute_scores(alone.counts, 1)
    for place in ("one", "two", "bereft"):
        written = {str(path.relative_to(tmp_path / place)) for path in (tmp_path / place).rglob("*.*")}
        assert written == {str(p.relative_to(quick.out)) for p in quick.out.rglob("*.*")} - {
            "metrics.json",
            "granules.png",
        }


def test_a_granule_is_told_by_a_model_that_has_seen_none_of_its_pixels(
    folder: Path, quick: Options, alone: GranulesResult
) -> None:
    """Without one granule's truth the model that judges it is the same to the bit."""
    pairs = file_names.find_pairs(str(folder), minutes=15.0)
    matched = [tasks.match_granule(pair, quick.limits) for pair in pairs]
    folds = alone.folds

    for fold in range(quick.folds):
        outside = [one for one, where in zip(matched, folds, strict=True) if where != fold]
        model = grown(tasks.training_rows(outside), quick.forest_settings, fold)
        assert tasks.describe_model(model)[0] == alone.model_digests[fold]

    assert folds == sorted(folds)
    assert len(alone.model_digests) == len(set(alone.model_digests)) == quick.folds


TAKE = """
import sys
from retrieval import scenes
try:
    with scenes.local_copy("s3://orbits/2013", sys.argv[1]) as path:
        print(path.stat().st_size)
    print(path.parent.exists())
except scenes.SceneError as error:
    print(error)
"""


@pytest.mark.slow
def test_granules_on_s3_are_staged_processed_and_removed_with_the_result_of_local_ones(
    alone: GranulesResult, quick: Options, folder: Path, tmp_path: Path
) -> None:
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-west-2"}
        login = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-west-2"}
        s3 = boto3.client("s3", endpoint_url=endpoint, **login)
        s3.create_bucket(Bucket="orbits", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        for path in folder.iterdir():
            s3.upload_file(str(path), "orbits", f"2013/{path.name}")
        (tmp_path / "scratch").mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env |= keys | {"AWS_ENDPOINT_URL": endpoint, "TMPDIR": str(tmp_path / "scratch"), "PYTHONPATH": str(JOB)}
        words = ["--out", "outputs", "--folds", "2", "--trees", "8", "--maps", "2", "--data"]
        command = [sys.executable, str(JOB / "granule_job.py"), *words]

        def ran(where: str, *before: str, **other: str) -> subprocess.CompletedProcess[str]:
            """The job with granules of a bucket."""
            wanted = [*before, *command, where]
            return subprocess.run(wanted, cwd=tmp_path, env=env | other, capture_output=True, text=True, check=False)

        done = ran("s3://orbits/2013")
        assert (done.returncode, done.stderr) == (0, "")
        one = next(path for path in folder.iterdir() if path.name.startswith("VNP03MOD"))
        taken, gone = (
            subprocess.run([sys.executable, "-c", TAKE, name], env=env, capture_output=True, text=True, check=True)
            for name in (one.name, "VNP02MOD.nc")
        )
        nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
        nobody |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null"}
        failed = {
            "s3://elsewhere/x: there is no such bucket (NoSuchBucket)": ran("s3://elsewhere/x"),
            "s3://orbits/2013: no AWS credentials here; give the machine a role": ran("s3://orbits/2013", **nobody),
            # No file may have more than half a kilobyte: as on a disk that is full.
            "s3://orbits/2013/VNP02MOD.": ran("s3://orbits/2013", "sh", "-c", 'ulimit -f 1; exec "$@"', "sh"),
        }
    finally:
        server.stop()

    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    assert (metrics["model"]["sha256"], metrics["predictions"]["sha256"]) == hashes(alone)
    assert not list((tmp_path / "scratch").rglob("cloud_retrieval-*"))
    assert "phase accuracy" in done.stdout
    for told, run in failed.items():
        assert (run.returncode, "Traceback" in run.stderr) == (2, False), run.stderr
        assert all(line.startswith(told) for line in run.stderr.splitlines()), run.stderr
        assert run.stderr.count("\n") == (4 if told.endswith(".") else 1)
    assert taken.stdout.split() == [str(one.stat().st_size), "False"]
    assert gone.stdout == "s3://orbits/2013/VNP02MOD.nc: there is no such object any more (404)\n"
    assert "cannot be written to scratch (File too large)" in run.stderr


# ---------------------------------------------------------------- scores


def test_metrics_say_what_was_measured_on_what(alone: GranulesResult, quick: Options) -> None:
    found = json.loads((quick.out / "metrics.json").read_text())

    assert found["data"]["kind"] == "synthetic"
    assert "synthetic data" in found["headline"]
    assert found["data"]["granules"] == 4
    assert found["data"]["matched"] == sum(sum(row["columns"].values()) for row in found["per_granule"].values())
    assert set(found["scores"]) == {"phase", "cloud_mask", "calibration", "cloud_top_height"}
    assert set(found["scores"]["phase"]["classes"]) == {"clear", "water", "ice", "mixed"}
    low, high = found["scores"]["phase"]["accuracy_95"]
    assert low <= found["scores"]["phase"]["accuracy"] <= high
    assert set(found["importance"]) == {*(f"M{n:02d}" for n in range(1, 17)), "differences", "light", "land"}
    assert found["run"]["workers"] == 1


@pytest.mark.slow
def test_synthetic_granules_are_neither_hopeless_nor_trivial(tmp_path: Path) -> None:
    """Full-length granules, as wide as needed around the track: scores lie in the band that the report states."""
    list(synthetic_granules.write_pairs(tmp_path / "data", count=8, size=GranuleSize(3232, 160, 4000), seed=1))

    outcome = pipeline.run(Options(data=str(tmp_path / "data"), out=tmp_path / "out", maps=0, trees=24), silent)

    scores = evaluation.compute_scores(outcome.counts, 1)
    for part, (low, high) in granule_report.SYNTHETIC_BAND.items():
        assert low <= scores[part]["accuracy"] <= high, part
        # The interval holds the score and is no wider than fits the eight granules.
        bounds = scores[part]["accuracy_95"]
        assert bounds[0] <= scores[part]["accuracy"] <= bounds[1]
        assert bounds[1] - bounds[0] < 0.2
    assert scores["phase"]["accuracy"] > scores["phase"]["baseline_largest_class"] + 0.2
    assert scores["calibration"]["expected_calibration_error"] < 0.1
    # Cirrus is what 1.38 um is for.
    assert "M09" in list(granule_report.importance_section(outcome))[:4]


def test_truth_that_is_shuffled_among_columns_cannot_be_told(folder: Path, quick: Options) -> None:
    """No way from a pixel to its truth but the light: with truth shuffled the forest is worth no more than a guess."""
    rng = np.random.default_rng(2)
    pairs = file_names.find_pairs(str(folder), minutes=15.0)
    matched = [tasks.match_granule(pair, quick.limits) for pair in pairs]
    shuffled = []
    for one in matched:
        order = rng.permutation(len(one.rows))
        rows = dataclasses.replace(one.rows, column_class=one.rows.column_class[order], top_km=one.rows.top_km[order])
        shuffled.append(dataclasses.replace(one, rows=rows))
    recipe = ForestSettings(8, 16, 1)
    rows = tasks.training_rows(shuffled[:2])
    model = tasks.merge_model(
        {target: [tasks.fit_trees(rows, target, recipe, recipe.seeds(target, 0))] for target in ("phase", "top")}
    )

    tallies = [tasks.evaluate_granule(one, model, 1)[0] for one in shuffled[2:]]

    found = evaluation.compute_scores(tallies, 1)["phase"]
    assert found["accuracy"] < found["baseline_largest_class"] + 0.1


# ---------------------------------------------------------------- what a run leaves


def test_a_map_is_a_netcdf_file_with_cf_names_that_says_it_is_synthetic(alone: GranulesResult, quick: Options) -> None:
    key = next(iter(alone.prediction_digests))
    with netCDF4.Dataset(quick.out / "maps" / f"cloud_{key}.nc") as file:
        assert (file.Conventions, int(file.synthetic)) == ("CF-1.10", 1)
        assert file.model_sha256 in alone.model_digests
        assert "synthetic" in file.title
        assert file["cloud_top_altitude"].standard_name == "cloud_top_altitude"
        assert file["cloud_top_altitude"].units == "m"
        assert file["cloud_phase"].flag_meanings == "clear water ice mixed"
        assert file["cloud_phase"].flag_values.tolist() == [0, 1, 2, 3]
        assert {file[name].dimensions for name in file.variables} == {("line", "pixel")}
        assert file["latitude"].shape == (160, 128)
        phase, chance = file["cloud_phase"][:], file["cloud_probability"][:]
        top = file["cloud_top_altitude"][:]
    assert set(np.unique(phase.compressed())) <= {0, 1, 2, 3}
    assert (np.ma.getmaskarray(top) == (np.ma.getmaskarray(phase) | (phase == 0).filled(True))).all()
    clearly = ~phase.mask & (np.abs(chance - 0.5) > 0.01)
    assert ((chance >= 0.5) == (phase > 0))[clearly].all()


def test_a_map_says_when_its_granule_was_seen(folder: Path, alone: GranulesResult, quick: Options) -> None:
    pair = file_names.find_pairs(str(folder), minutes=15.0)[0]
    with (
        netCDF4.Dataset(quick.out / "maps" / f"cloud_{pair.key}.nc") as made,
        netCDF4.Dataset(folder / pair.radiances) as file,
    ):
        assert made.time_coverage_start == file.time_coverage_start == "2013-01-02T18:00:00.000Z"
        assert made.time_coverage_end == file.time_coverage_end


def test_lines_whose_place_is_unknown_are_mapped_as_any_others(
    folder: Path, quick: Options, alone: GranulesResult, tmp_path: Path
) -> None:
    """A granule may lack the place of some scans; what was seen there is there all the same."""
    shutil.copytree(folder, tmp_path / "data")
    pair = file_names.find_pairs(str(tmp_path / "data"), minutes=15.0)[0]
    with netCDF4.Dataset(tmp_path / "data" / pair.geolocation, "a") as file:
        file.set_auto_maskandscale(False)
        for name in ("latitude", "longitude"):
            file["geolocation_data"][name][16:32] = -999.9

    outcome = pipeline.run(
        dataclasses.replace(quick, data=str(tmp_path / "data"), out=tmp_path / "out", maps=1), silent
    )

    assert outcome.infos[0].matched < alone.infos[0].matched
    with netCDF4.Dataset(tmp_path / "out" / "maps" / f"cloud_{pair.key}.nc") as file:
        assert np.ma.getmaskarray(file["latitude"][16:32]).all()
        assert not np.ma.getmaskarray(file["cloud_probability"][20]).any()


def test_pictures_and_index_files_come_with_it(alone: GranulesResult, quick: Options) -> None:
    pictures = sorted((quick.out / "maps").glob("*.png"))

    assert len(pictures) == 2
    assert all(path.stat().st_size > 30_000 for path in [*pictures, quick.out / "granules.png"])
    assert len(list((quick.out / "collocation").glob("CAL_*_VNP_*_Index.h5"))) == 4
    assert not list(quick.out.rglob("*.part"))


def test_index_files_stand_in_for_the_search(
    folder: Path, quick: Options, alone: GranulesResult, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "data")
    for path in (quick.out / "collocation").iterdir():
        shutil.copy(path, tmp_path / "data")
    options = dataclasses.replace(quick, data=str(tmp_path / "data"), out=tmp_path / "out", indexed=True, maps=0)

    assert pipeline.run(options, silent).model_digests == alone.model_digests


def test_mapping_a_tall_granule_holds_a_few_scans_in_memory(
    tmp_path: Path, alone: GranulesResult, quick: Options
) -> None:
    list(synthetic_granules.write_pairs(tmp_path, count=1, size=GranuleSize(960, 48, 100), seed=9))
    pair = file_names.find_pairs(str(tmp_path), minutes=15.0)[0]
    matched = [tasks.match_granule(one, quick.limits) for one in file_names.find_pairs(quick.data, minutes=15.0)[:2]]
    recipe, rows = ForestSettings(2, 6, 1), tasks.training_rows(matched)
    model = tasks.merge_model(
        {target: [tasks.fit_trees(rows, target, recipe, recipe.seeds(target, 0))] for target in ("phase", "top")}
    )
    whole = 960 * 48 * len(tasks.features.FEATURE_NAMES) * 4
    about = l2_product.ProductInfo(pair.key, "", (), True)

    with tasks.local_files(pair, pair.all_files[:2]) as paths, tasks.open_granule(pair, paths) as granule:
        tracemalloc.start()
        l2_product.write_product(tmp_path / "map.nc", granule, model, about)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < whole / 3


# ---------------------------------------------------------------- input that cannot be used


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("VNP02MOD", "cut off"),
        ("VNP03MOD", "cut off"),
        ("CAL_LID", "cut off"),
        ("VNP02MOD", "spoilt"),
        ("VNP03MOD", "spoilt"),
    ],
)
def test_a_broken_file_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, how: str
) -> None:
    shutil.copytree(folder, tmp_path / "data")
    broken = sorted((tmp_path / "data").glob(f"{kind}*"))[1]
    whole = broken.read_bytes()
    # Spoilt: it can be opened, but what was compressed in it is noise.
    noise = np.random.default_rng(1).bytes(len(whole) // 2)
    start = len(whole) // 4
    broken.write_bytes(whole[:5000] if how == "cut off" else whole[:start] + noise + whole[start + len(noise) :])

    status = granule_job.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--folds", "2"])

    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert broken.name in error


@pytest.mark.parametrize(
    "words", [["--folds", "1"], ["--trees", "0"], ["--km", "-5"], ["--minutes", "soon"], ["--maps", "x"], ["--no"]]
)
def test_arguments_that_make_no_sense_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        granule_job.main(["--data", "data", "--out", "outputs", *words])

    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("granule_job.py: ")
    assert error.count("\n") == 1


def test_more_folds_than_granules_and_a_missing_folder_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="--folds 5: 4 granules here"):
        pipeline.run(Options(data=str(folder), out=tmp_path, folds=5), silent)
    with pytest.raises(SceneError, match="nowhere: no such folder"):
        pipeline.run(Options(data=str(tmp_path / "nowhere"), out=tmp_path), silent)


def test_an_index_file_of_another_track_is_refused(
    folder: Path, quick: Options, alone: GranulesResult, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "data")
    here, other = sorted((quick.out / "collocation").iterdir())[:2]
    import h5py

    shutil.copy(other, tmp_path / "data" / here.name)
    with h5py.File(tmp_path / "data" / here.name, "a") as file:
        for name in list(file):
            if name != "observation_data":
                values = file[name][:-7]
                del file[name]
                file[name] = values
    options = dataclasses.replace(quick, data=str(tmp_path / "data"), out=tmp_path / "out", indexed=True)

    with pytest.raises(SceneError, match="made from another granule or track"):
        pipeline.run(options, silent)


@pytest.mark.parametrize("words", [["--lines", "100"], ["--pixels", "4000"], ["--granules", "0"], ["--seed", "-1"]])
def test_a_generator_asked_for_the_impossible_says_what_is_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert make_granules.main(["--out", str(tmp_path / "x"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
