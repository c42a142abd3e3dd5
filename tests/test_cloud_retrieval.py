"""examples/cloud_retrieval: the same result on one machine and on many, honest scores, bounded memory, plain errors.

Cluster tests use real Dask schedulers and workers, each a process of its own in a folder of its own, over TLS; S3 is a
real server on loopback. The test on a real scene reads the folder named by STRATUS_TEST_DATA (else shared/data beside
the repository) and is skipped without it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

for package in ("numpy", "sklearn", "h5py", "matplotlib", "distributed"):
    pytest.importorskip(package, reason=f"the cloud retrieval job needs {package}")

ROOT = Path(__file__).parent.parent
JOB = ROOT / "examples" / "cloud_retrieval"
sys.path.insert(0, str(JOB))

import dask  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import retrieve  # noqa: E402
import synthesize  # noqa: E402
from retrieval import dask_client, features, pipeline, s3_staging, scenes, stages, tasks, train_test_split  # noqa: E402
from retrieval.features import Footprint  # noqa: E402
from retrieval.pipeline import (  # noqa: E402
    Options,
    RetrievalResult,
)
from retrieval.scenes import SceneError  # noqa: E402
from retrieval.tasks import (  # noqa: E402
    SceneRef,
    SceneSplit,
)
from simulation import synthetic_scenes  # noqa: E402

from tests import dask_cluster  # noqa: E402
from tests.dask_cluster import DEADLINE  # noqa: E402

SCENE = "LES_profile_00579.hdf5"
CUT = SceneSplit(Footprint(3), blocks=0, fold=0, buffer=4)


def silent(line: str) -> None:
    """Progress that nobody reads."""


def hashes(outcome: RetrievalResult) -> tuple[str, str]:
    """What must be the same everywhere."""
    return outcome.trained.digest, outcome.prediction_digest


# ---------------------------------------------------------------- scenes and runs to share


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic scenes."""
    place = tmp_path_factory.mktemp("work") / "data"
    synthesize.synthesize(place, scenes=4, size=72, seed=3)
    return place


@pytest.fixture(scope="module")
def quick(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options for a run of a second or two."""
    return Options(data=str(folder), out=tmp_path_factory.mktemp("alone"), trees=16, rows=6000)


@pytest.fixture(scope="module")
def alone(quick: Options) -> RetrievalResult:
    """A run on this machine."""
    return pipeline.run(quick, silent)


class Cluster(dask_cluster.Cluster):
    """A cluster that runs this job."""

    def run(self, options: Options, out: Path, say: Callable[[str], None] = silent) -> RetrievalResult:
        """The job on this cluster, with the data named relative to the workers' folders."""
        with self.near():
            return pipeline.run(dataclasses.replace(options, data="data", out=out, scheduler=self.address), say)


@pytest.fixture
def many(tmp_path: Path, folder: Path) -> Iterator[Cluster]:
    """A cluster without workers yet."""
    started = Cluster(tmp_path, folder)
    with started.processes:
        yield started


# ---------------------------------------------------------------- one machine, many machines


def test_one_worker_two_workers_and_a_worker_killed_halfway_give_the_bits_of_a_run_alone(
    many: Cluster, quick: Options, alone: RetrievalResult, tmp_path: Path
) -> None:
    many.worker("ml-0")
    one = many.run(quick, tmp_path / "one")
    doomed = many.worker("ml-1")
    many.joined(2)
    two = many.run(quick, tmp_path / "two")

    def kill_once_trees_grow(line: str) -> None:
        if line.startswith("trees") and doomed.poll() is None:
            os.kill(doomed.pid, signal.SIGKILL)
            doomed.wait(DEADLINE)

    bereft = many.run(quick, tmp_path / "bereft", kill_once_trees_grow)

    assert (one.client.workers, two.client.workers, doomed.returncode) == (1, 2, -signal.SIGKILL)
    assert hashes(one) == hashes(two) == hashes(bereft) == hashes(alone)
    assert one.scores.as_dict() == two.scores.as_dict() == bereft.scores.as_dict() == alone.scores.as_dict()


def test_a_worker_without_the_data_is_named_with_its_path_in_one_line(
    many: Cluster, quick: Options, tmp_path: Path
) -> None:
    many.worker("ml-7")
    (tmp_path / "host-1" / "data").unlink()

    with pytest.raises(SceneError) as caught:
        many.run(quick, tmp_path / "out")

    lines = str(caught.value).splitlines()
    assert lines[0] == f"ml-7 (127.0.0.1): {tmp_path}/host-1/data/synthetic_00001.hdf5: no such file"
    assert len(lines) == 4


DIES_ONCE = """
import os
from pathlib import Path
from retrieval import worker
left = [str(path) for path in Path("scratch").rglob("cloud_retrieval-*")]
with worker.scratch_folder() as folder:
    (folder / "granule").touch()
    if not Path("died").exists():
        Path("died").write_text(str(folder.resolve()))
        os._exit(9)
Path("found").write_text(repr(left))
"""


def test_scratch_of_a_worker_that_was_killed_is_removed_when_the_next_one_starts(many: Cluster) -> None:
    words = ("--scheduler-file", str(many.contact), "--nthreads", "1", "--local-directory", "scratch")
    many.start("worker", *words)

    with many.near(), dask_client.connect(many.address) as team:
        team.submit(exec, DIES_ONCE).result(DEADLINE)

    host = many.home / "host-1"
    folder = Path((host / "died").read_text())
    assert host / "scratch" in folder.parents
    assert (host / "found").read_text() == "[]"
    assert not folder.exists()


def test_a_scheduler_that_is_not_there_is_one_line_and_exit_code_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"tcp://127.0.0.1:{door.getsockname()[1]}"

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        status = retrieve.main(["--data", str(folder), "--out", str(tmp_path), "--scheduler", address])

    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith(f"{address}: no Dask scheduler answers there")
    assert error.count("\n") == 1


def test_cutting_scenes_into_other_blocks_or_other_groups_of_trees_changes_no_bit(
    quick: Options, alone: RetrievalResult, tmp_path: Path
) -> None:
    cut = pipeline.run(dataclasses.replace(quick, out=tmp_path, blocks=7), silent)

    assert hashes(cut) == hashes(alone)


def test_newer_code_replaces_older_on_a_worker_that_outlives_a_run(tmp_path: Path) -> None:
    package = tmp_path / "src" / "retrieval"
    package.mkdir(parents=True)
    shutil.copy(JOB / "retrieval" / "__init__.py", package)
    for version in (1, 2):
        (package / "forest.py").write_text(f"VERSION = {version}\n")
        (tmp_path / str(version)).mkdir()
        dask_client.build_zip(package, tmp_path / str(version))
    script = (
        "import sys; from distributed.utils import import_file\n"
        "for zip in sys.argv[1:]:\n    import_file(zip); from retrieval import forest; print(forest.VERSION)"
    )
    zips = [str(next((tmp_path / version).iterdir())) for version in "12"]

    told = subprocess.run([sys.executable, "-c", script, *zips], cwd=tmp_path, capture_output=True, check=True)

    assert told.stdout.split() == [b"1", b"2"]


# ---------------------------------------------------------------- scores that mean something


@pytest.mark.parametrize("shape", [(72, 72), (37, 53), (144, 60)])
@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_no_reflectance_is_seen_by_both_a_training_and_a_judged_pixel(
    shape: tuple[int, int], neighbourhood: int
) -> None:
    footprint = Footprint(neighbourhood)
    roles = train_test_split.pixel_roles(shape, 0, shape[0], fold=1, buffer=2 * footprint.halo)

    by_trained = seen(roles == train_test_split.TRAIN, footprint)
    by_judged = seen(roles == train_test_split.TEST, footprint)

    assert by_trained.any()
    assert by_judged.any()
    assert not (by_trained & by_judged).any()


def seen(pixels: Any, footprint: Footprint) -> Any:
    """The pixels that features of ``pixels`` look at: proved by disturbing all others, mirrored edges included."""
    reach = train_test_split.dilate(np.pad(pixels, ((footprint.halo, footprint.halo), (0, 0))), footprint.halo)
    bands = np.random.default_rng(5).random((2, *pixels.shape))
    disturbed = np.where(reach, bands, 9.0)
    before, after = (whole_features(planes, footprint)[pixels.ravel()] for planes in (bands, disturbed))
    assert (before == after).all()
    return reach


def whole_features(bands: Any, footprint: Footprint) -> Any:
    """Features of all pixels of a plane, mirrored at its edges."""
    halo = footprint.halo
    return features.compute(np.pad(bands, ((0, 0), (halo, halo), (0, 0)), mode="reflect"), (60.0, 0.0, 0.05), footprint)


def test_features_look_as_far_as_they_say() -> None:
    bands = np.random.default_rng(5).random((2, 15, 15))
    far = bands.copy()
    far[:, 7, 7 + Footprint(3).halo] += 1.0

    before, after = (whole_features(planes, Footprint(3)).reshape(15, 15, -1)[7, 7] for planes in (bands, far))

    assert (before != after).any()


def test_four_folds_judge_every_pixel_once() -> None:
    folds = [
        train_test_split.pixel_roles((50, 71), 0, 50, fold=fold, buffer=4) == train_test_split.TEST for fold in range(4)
    ]

    assert (np.sum(folds, axis=0) == 1).all()


def test_roles_of_some_rows_are_those_rows_of_the_whole() -> None:
    whole = train_test_split.pixel_roles((50, 71), 0, 50, fold=2, buffer=4)

    assert (
        np.concatenate([train_test_split.pixel_roles((50, 71), a, a + 10, fold=2, buffer=4) for a in range(0, 50, 10)])
        == whole
    ).all()


def test_synthetic_scenes_are_neither_hopeless_nor_trivial(alone: RetrievalResult) -> None:
    scores = alone.scores.as_dict()

    assert 0.90 <= scores["cloud_mask"]["accuracy"] <= 0.995
    assert scores["cloud_mask"]["baseline_larger_class"] < 0.75
    assert 0.6 <= scores["cloud_optical_thickness"]["r2_log1p"] < 0.99
    assert 0.3 <= scores["cloud_effective_radius"]["r2"] < 0.99


def test_a_judged_score_can_be_checked_from_the_predictions_file_with_scikit_learn(alone: RetrievalResult) -> None:
    from sklearn.metrics import accuracy_score, r2_score

    parts = {name: [] for name in ("truth", "cot", "chance")}
    with h5py.File(alone.options.out / "predictions.h5") as file:
        for group in file.values():
            judged = group["role"][:] == train_test_split.TEST
            parts["truth"].append(group["truth_cloud_optical_thickness"][:][judged])
            parts["cot"].append(group["cloud_optical_thickness"][:][judged])
            parts["chance"].append(group["cloud_mask_probability"][:][judged])
    truth, cot, chance = (np.concatenate(part).astype(float) for part in parts.values())
    cloudy = np.isfinite(truth)

    scores = alone.scores.as_dict()
    assert scores["cloud_mask"]["accuracy"] == accuracy_score(cloudy, chance >= 0.5)
    assert scores["cloud_optical_thickness"]["r2_log1p"] == pytest.approx(
        r2_score(np.log1p(truth[cloudy]), np.log1p(cot[cloudy])), abs=1e-9
    )


def test_a_real_scene_passes_the_bars_with_tiles_held_out(tmp_path: Path) -> None:
    place = Path(os.environ.get("STRATUS_TEST_DATA", ROOT.parent / "shared" / "data")) / SCENE
    if not place.is_file():
        pytest.skip(f"no {SCENE} in {place.parent}; STRATUS_TEST_DATA names its folder")

    scores = pipeline.run(Options(data=str(place), out=tmp_path, trees=20, fold=1), silent).scores.as_dict()

    assert scores["cloud_mask"]["accuracy"] >= 0.95
    assert scores["cloud_optical_thickness"]["r2_log1p"] >= 0.80


# ---------------------------------------------------------------- scenes larger than memory


def test_sampling_a_tall_scene_holds_one_block_and_the_rows_drawn_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows, columns, quota = 3000, 64, 500
    scene_file(
        tmp_path / "tall.h5", rng.random((2, rows, columns)), np.where(rng.random((rows, columns)) < 0.5, 5.0, np.nan)
    )
    whole = rows * columns * Footprint(3).count * 4
    place = SceneRef(str(tmp_path), "tall.h5", 0)

    tracemalloc.start()
    drawn = tasks.draw_sample(place, dataclasses.replace(CUT, blocks=100), 1, quota)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(drawn.cot) == quota
    assert peak < whole / 10


def test_training_rows_never_exceed_their_cap(alone: RetrievalResult) -> None:
    assert alone.sampled.rows <= alone.options.rows
    assert pipeline.row_quotas(10, 4) == [3, 3, 2, 2]


def test_results_do_not_pile_up_when_they_are_taken_slowly() -> None:
    started: list[int] = []
    with dask_client.connect("") as team:
        taken = 0
        for number, result in team.stream(started_one, range(30), started, window=4):
            taken += 1
            assert len(started) < taken + 4
            assert result == number * 2

    assert taken == 30


def started_one(number: int, started: list[int]) -> int:
    """A task that leaves a mark; workers are threads of this process."""
    started.append(number)
    return number * 2


# ---------------------------------------------------------------- input that cannot be used


def scene_file(path: Path, reflectance: Any, cot: Any, **others: Any) -> None:
    """A scene by plain names; ``others`` replace datasets, None leaves one out."""
    planes = {
        "Reflectance": reflectance,
        "Cloud_optical_thickness": cot,
        "CER": np.where(np.isfinite(cot), 9.0, np.nan),
        "SZA": 60.0,
        "VZA": 0,
        "Surface_albedo": 0.05,
    }
    with h5py.File(path, "w") as file:
        for name, values in (planes | others).items():
            if values is not None:
                file[name] = values


GOOD = np.full((2, 20, 20), 0.3)
COT = np.where(np.arange(400).reshape(20, 20) % 2, 5.0, np.nan)
HOLE = np.where(np.arange(800).reshape(2, 20, 20) == 427, np.nan, 0.3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"Reflectance": None}, "no dataset Reflectance"),
        ({"CER": None}, "no dataset CER"),
        ({"SZA": None}, "no dataset SZA"),
        ({"Reflectance": GOOD[0]}, "Reflectance has shape (20, 20), not (2, rows, columns)"),
        ({"CER": COT[:10]}, "CER has shape (10, 20), Reflectance (2, 20, 20)"),
        ({"Reflectance": HOLE}, "Reflectance is not finite in 1 places, first at band 1, row 1, column 7"),
        ({"Reflectance": GOOD * 100}, "Reflectance runs from 30 to 30, not from 0 to about 2"),
        ({"SZA": [60.0, 61.0]}, "SZA is not one finite number"),
        ({"Surface_albedo": "dark"}, "Surface_albedo holds object, not numbers"),
    ],
)
def test_a_scene_that_cannot_be_used_says_which_file_and_what(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "odd.h5"
    scene_file(path, GOOD, COT, **changes)

    with pytest.raises(SceneError) as caught:
        tasks.draw_sample(SceneRef(str(tmp_path), "odd.h5", 0), CUT, 1, 100)

    assert str(caught.value).startswith(f"{path}: {complaint}")
    assert "\n" not in str(caught.value)


def test_all_unusable_scenes_are_told_at_once_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene_file(tmp_path / "a.h5", GOOD, COT)
    scene_file(tmp_path / "b.h5", HOLE, COT)
    (tmp_path / "c.h5").write_bytes(b"no HDF5")

    status = retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])

    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / "b.h5"), str(tmp_path / "c.h5")]
    assert "not a readable HDF5 file" in lines[1]


@pytest.mark.parametrize(
    ("cot", "complaint"),
    [
        (np.full((20, 20), np.nan), "are clear; both kinds are needed"),
        (np.full((20, 20), 5.0), "are cloudy; both kinds are needed"),
    ],
)
def test_scenes_of_one_kind_of_pixel_only_cannot_be_learnt_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cot: Any, complaint: str
) -> None:
    scene_file(tmp_path / "same.h5", GOOD, cot)

    status = retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--neighbourhood", "1"])

    assert status == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("where", ["empty", "nowhere"])
def test_a_folder_without_scenes_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    (tmp_path / "empty").mkdir()

    status = retrieve.main(["--data", str(tmp_path / where), "--out", str(tmp_path / "out")])

    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith(str(tmp_path / where))
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["--neighbourhood", "4"], ["--trees", "0"], ["--rows", "many"], ["--fold", "4"], ["--no"]]
)
def test_arguments_that_make_no_sense_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        retrieve.main(["--data", "data", "--out", "outputs", *words])

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_scene_trained_on_cannot_be_held_out_as_well(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(folder)

    with pytest.raises(SceneError, match=r"synthetic_00001\.hdf5: trained on and held out at once"):
        pipeline.run(Options(data=str(folder), held_out=str(tmp_path / "again"), out=tmp_path / "out"), silent)


def test_clouds_without_any_droplet_size_cannot_be_learnt_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene_file(tmp_path / "bare.h5", GOOD, COT, CER=np.full((20, 20), np.nan))

    assert retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--neighbourhood", "1"]) == 2
    assert "CER is known in none of" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_made_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(SceneError, match="taken: cannot be made a folder"):
        pipeline.run(Options(data=str(folder), out=tmp_path / "taken"), silent)


def test_a_scene_too_small_to_be_split_says_so(tmp_path: Path) -> None:
    scene_file(tmp_path / "small.h5", GOOD[:, :8, :8], COT[:8, :8])

    with pytest.raises(SceneError, match="no pixel is left to train on"):
        tasks.draw_sample(SceneRef(str(tmp_path), "small.h5", 0), CUT, 1, 100)


def test_dataset_names_may_carry_a_resolution_and_the_finest_counts(tmp_path: Path) -> None:
    renamed = {
        "Reflectance": None,
        "Reflectance_100m_resolution": GOOD,
        "Reflectance_0.5km_resolution": GOOD[:, :4, :4],
    }
    scene_file(tmp_path / "scene.h5", GOOD, COT, **renamed)

    with scenes.open_scene(tmp_path / "scene.h5", label="scene") as scene:
        assert scene.shape == (20, 20)


# ---------------------------------------------------------------- what a run leaves


def test_a_scene_held_out_without_truth_is_retrieved_and_not_judged(
    quick: Options, folder: Path, tmp_path: Path
) -> None:
    with h5py.File(folder / "synthetic_00001.hdf5") as file:
        reflectance = file["Reflectance_100m_resolution"][:]
    (tmp_path / "new").mkdir()
    scene_file(tmp_path / "new" / "a.h5", reflectance, COT, Cloud_optical_thickness=None, CER=None)
    options = dataclasses.replace(quick, held_out=str(tmp_path / "new"), out=tmp_path, trees=2, rows=600)

    outcome = pipeline.run(options, silent)

    with h5py.File(tmp_path / "predictions.h5") as file:
        assert set(file["a.h5"]) == {"cloud_mask_probability", "cloud_optical_thickness", "cloud_effective_radius"}
    assert outcome.scores.pixels == 0
    assert outcome.data_kind == "mixed"


@pytest.mark.slow
def test_scenes_on_s3_are_staged_processed_and_removed_with_the_result_of_local_ones(
    alone: RetrievalResult, folder: Path, tmp_path: Path
) -> None:
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-west-2"}
        s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-west-2",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        s3.create_bucket(Bucket="clouds", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        for path in folder.iterdir():
            s3.upload_file(str(path), "clouds", f"scenes/{path.name}")
        (tmp_path / "scratch").mkdir()
        env = os.environ | keys | {"AWS_ENDPOINT_URL": endpoint, "TMPDIR": str(tmp_path / "scratch")}
        command = [
            sys.executable,
            str(JOB / "retrieve.py"),
            "--out",
            "outputs",
            "--trees",
            "16",
            "--rows",
            "6000",
            "--data",
        ]
        done = subprocess.run(
            [*command, "s3://clouds/scenes"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        lost = subprocess.run(
            [*command, "s3://elsewhere/x"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
    finally:
        server.stop()

    assert (done.returncode, done.stderr) == (0, "")
    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    assert (metrics["model"]["sha256"], metrics["predictions"]["sha256"]) == hashes(alone)
    assert metrics["data"]["kind"] == "synthetic"
    assert "R2 log(1+COT)" in done.stdout
    assert (tmp_path / "outputs" / "retrieval.png").stat().st_size > 50_000
    assert not list((tmp_path / "scratch").glob("cloud_retrieval-*"))
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
    assert lost.stderr.startswith("s3://elsewhere/x: ")
    with h5py.File(tmp_path / "outputs" / "predictions.h5") as file:
        assert file.attrs["synthetic"]
        assert file["synthetic_00001.hdf5/cloud_effective_radius"].attrs["units"] == "um"


def test_the_parts_of_an_s3_address_are_told_apart() -> None:
    assert s3_staging.split_url("s3://bucket/a/b/") == ("bucket", "a/b/")
    assert s3_staging.split_url("s3://bucket") == ("bucket", "")


# ---------------------------------------------------------------- the generator's physics


def test_a_layer_that_absorbs_nothing_over_a_white_surface_sends_all_light_back() -> None:
    tau = np.geomspace(0.1, 100.0, 20)

    assert synthetic_scenes.two_stream(tau, np.full(20, 1.0 - 1e-9), 0.5, 1.0) == pytest.approx(1.0, abs=1e-3)


def test_thicker_clouds_are_brighter_and_larger_droplets_darker_where_water_absorbs() -> None:
    tau = np.geomspace(0.1, 100.0, 20)
    small, large = (synthetic_scenes.two_stream(tau, np.full(20, 1.0 - loss), 0.5, 0.05) for loss in (0.015, 0.03))

    assert (np.diff(synthetic_scenes.two_stream(tau, np.full(20, 1.0 - 1e-6), 0.5, 0.05)) > 0).all()
    assert (large < small)[tau > 1].all()


def test_a_synthetic_scene_is_marked_and_laid_out_like_a_real_one(folder: Path) -> None:
    with h5py.File(folder / "synthetic_00002.hdf5") as file:
        assert file.attrs["synthetic"]
        assert file["Reflectance_100m_resolution"].shape == (2, 72, 72)
        assert sorted(file) == sorted(
            [
                "CER_(100m resolution)",
                "Cloud_optical_thickness_(100m resolution)",
                "Native_Cloud_fraction_(100m)",
                "Reflectance_100m_resolution",
                "SZA",
                "Surface_albedo",
                "VZA",
            ]
        )
        cot = file["Cloud_optical_thickness_(100m resolution)"][:]
    assert np.nanmin(cot) >= synthetic_scenes.CLEAR_BELOW_COT
    assert 0.1 < np.isfinite(cot).mean() < 0.7
    assert stages.data_kind([]) == "real"
