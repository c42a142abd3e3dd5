"""Maps: CF NetCDF files with pictures, complete where coordinates are missing, written in bounded memory."""

from __future__ import annotations

import dataclasses
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from granules import features, file_names, l2_product, pipeline, tasks
from granules.forest_model import ForestSettings
from granules.pipeline import GranulesResult, Options
from simulation import synthetic_granules
from simulation.synthetic_granules import GranuleSize

from tests.support.examples.example_data import ignore_log
from tests.support.examples.granule_models import train_model


def test_a_map_is_a_cf_netcdf_file_marked_as_synthetic(local_result: GranulesResult, quick_options: Options) -> None:
    key = next(iter(local_result.prediction_digests))
    with netCDF4.Dataset(quick_options.out / "maps" / f"cloud_{key}.nc") as file:
        assert (file.Conventions, int(file.synthetic)) == ("CF-1.10", 1)
        assert file.model_sha256 in local_result.model_digests
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


def test_a_map_has_the_time_coverage_of_its_granule(
    granule_folder: Path, local_result: GranulesResult, quick_options: Options
) -> None:
    pair = file_names.find_pairs(str(granule_folder), minutes=15.0)[0]
    with (
        netCDF4.Dataset(quick_options.out / "maps" / f"cloud_{pair.key}.nc") as made,
        netCDF4.Dataset(granule_folder / pair.radiances) as file,
    ):
        assert made.time_coverage_start == file.time_coverage_start == "2013-01-02T18:00:00.000Z"
        assert made.time_coverage_end == file.time_coverage_end


@pytest.mark.slow
def test_lines_without_coordinates_are_mapped(
    granule_folder: Path, quick_options: Options, local_result: GranulesResult, tmp_path: Path
) -> None:
    """A granule may lack the geolocation of some scans; their measurements are valid all the same."""
    shutil.copytree(granule_folder, tmp_path / "data")
    pair = file_names.find_pairs(str(tmp_path / "data"), minutes=15.0)[0]
    with netCDF4.Dataset(tmp_path / "data" / pair.geolocation, "a") as file:
        file.set_auto_maskandscale(False)
        for name in ("latitude", "longitude"):
            file["geolocation_data"][name][16:32] = -999.9

    result = pipeline.run(
        dataclasses.replace(quick_options, data=str(tmp_path / "data"), out=tmp_path / "out", maps=1), ignore_log
    )

    assert result.infos[0].matched < local_result.infos[0].matched
    with netCDF4.Dataset(tmp_path / "out" / "maps" / f"cloud_{pair.key}.nc") as file:
        assert np.ma.getmaskarray(file["latitude"][16:32]).all()
        assert not np.ma.getmaskarray(file["cloud_probability"][20]).any()


def test_a_run_writes_pictures_and_index_files(local_result: GranulesResult, quick_options: Options) -> None:
    pictures = sorted((quick_options.out / "maps").glob("*.png"))

    assert len(pictures) == 2
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in pictures)
    assert (quick_options.out / "granules.pdf").is_file()
    assert all(path.stat().st_size > 30_000 for path in [*pictures, quick_options.out / "granules.png"])
    assert len(list((quick_options.out / "collocation").glob("CAL_*_VNP_*_Index.h5"))) == 4
    assert not list(quick_options.out.rglob("*.part"))


@pytest.mark.slow
def test_mapping_a_tall_granule_holds_a_few_scans_in_memory(
    tmp_path: Path, local_result: GranulesResult, quick_options: Options
) -> None:
    list(synthetic_granules.write_pairs(tmp_path, count=1, size=GranuleSize(960, 48, 100), seed=9))
    pair = file_names.find_pairs(str(tmp_path), minutes=15.0)[0]
    matched = [
        tasks.match_granule(one, quick_options.limits)
        for one in file_names.find_pairs(quick_options.data, minutes=15.0)[:2]
    ]
    model = train_model(tasks.training_rows(matched), ForestSettings(2, 6, 1))
    whole = 960 * 48 * len(features.FEATURE_NAMES) * 4
    info = l2_product.ProductInfo(pair.key, "", (), True)

    with tasks.local_files(pair, pair.all_files[:2]) as paths, tasks.open_granule(pair, paths) as granule:
        tracemalloc.start()
        l2_product.write_product(tmp_path / "map.nc", granule, model, info)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < whole / 3


def lightness(color: str) -> float:
    """Return the lightness L* (0 to 100) of a color, which is what remains of it in gray."""
    parts = np.array([int(color[first : first + 2], 16) / 255.0 for first in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(116.0 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16.0)


def test_classes_and_what_is_not_observed_differ_in_gray_as_well() -> None:
    values = sorted(lightness(color) for color in (*l2_product.PHASE_COLORS, l2_product.NO_DATA_COLOR))

    assert np.diff(values).min() > 15.0


def test_clear_and_not_observed_pixels_look_the_same_on_all_maps() -> None:
    from matplotlib.figure import Figure

    # Clear, water, ice, mixed; the last pixel is not observed.
    phase = np.array([[0, 1, 2, 3, -1]], np.int8)
    planes: dict[str, Any] = {
        "cloud_phase": phase,
        "cloud_probability": np.array([[0.0, 0.7, 0.9, 1.0, np.nan]], np.float32),
        "cloud_top_altitude": np.array([[np.nan, 0.0, 9e3, 17e3, np.nan]], np.float32),
    }
    preview = l2_product.Preview(1, planes)
    axes = Figure().subplots(1, 3)
    l2_product.draw_phase(axes[0], preview)
    l2_product.draw_plane(axes[1], preview, "cloud_probability", l2_product.PROBABILITY_STYLE)
    l2_product.draw_plane(axes[2], preview, "cloud_top_altitude", l2_product.TOP_STYLE)

    for axis in axes:
        # Images in the order in which they cover each other, over the hatched background.
        colors = [image.to_rgba(image.get_array())[0] for image in axis.images]
        shown = np.full((5, 4), np.nan)
        for layer in colors:
            shown = np.where(layer[:, 3:] > 0.0, layer, shown)
        assert shown[0, :3] == pytest.approx([1.0, 1.0, 1.0], abs=0.04)
        assert np.isnan(shown[4]).all()
        assert axis.patch.get_hatch() == l2_product.HATCH
        # No cloud is as light as clear or as dark as the background.
        grays = shown[1:4, :3] @ [0.2126, 0.7152, 0.0722]
        assert ((grays > 0.06) & (grays < 0.85)).all()
