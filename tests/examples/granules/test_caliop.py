"""Classification flags, the class of a column, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from granules import caliop
from granules.caliop import CLEAR, CLOUDY, ICE, MIXED, OTHER, WATER
from hypothesis import given
from hypothesis import strategies as st
from retrieval.scenes import SceneError


@pytest.mark.parametrize(
    ("flags", "type_", "phase", "confidence"),
    [
        (0b0000000110101010, 2, 1, 3),  # cloud, randomly oriented ice, high confidence
        (0b0000000111001010, 2, 2, 3),  # cloud, water
        (0b0000000111101010, 2, 3, 3),  # cloud, horizontally oriented ice
        (0b0000000000001010, 2, 0, 0),  # cloud of undetermined phase
        (0b0100000000011011, 3, 0, 0),  # aerosol
        (1, 1, 0, 0),  # clear air
    ],
)
def test_flags_are_decoded_as_in_the_data_products_catalog(flags: int, type_: int, phase: int, confidence: int) -> None:
    values = np.array([flags], np.uint16)

    assert int(caliop.decode_flags(values, "type")[0]) == type_
    assert int(caliop.decode_flags(values, "phase")[0]) == phase
    assert int(caliop.decode_flags(values, "phase_confidence")[0]) == confidence


@given(flags=st.integers(0, 2**16 - 1))
def test_the_parts_of_the_flags_cover_all_sixteen_bits(flags: int) -> None:
    parts = {part: caliop.decode_flags(np.array([flags]), part) for part in caliop.FLAG_BITS}

    assert int(caliop.encode_flags(**parts)[0]) == flags


def test_the_class_of_a_column_follows_from_its_layers() -> None:
    def cloud(phase: int, confidence: int = 3) -> int:
        return int(caliop.encode_flags(type=2, type_confidence=3, phase=phase, phase_confidence=confidence))

    columns = {
        CLEAR: [],
        WATER: [cloud(2), cloud(2)],
        ICE: [cloud(1), cloud(3)],
        MIXED: [cloud(1), cloud(2)],
        CLOUDY: [cloud(1), cloud(2, confidence=1)],
        OTHER: [int(caliop.encode_flags(type=4))],
    }
    flags, tops = np.zeros((6, 10), np.uint16), np.full((6, 10), np.nan, np.float32)
    for row, layers in enumerate(columns.values()):
        flags[row, : len(layers)], tops[row, : len(layers)] = layers, [12.0 - turn for turn in range(len(layers))]

    found = caliop.classify_columns(caliop.LayerTable(flags, tops))

    assert found.column_class.tolist() == list(columns)
    assert found.top_km[[1, 2, 3, 4]].tolist() == [12.0] * 4
    assert np.isnan(found.top_km[[0, 5]]).all()


def test_a_damaged_dataset_of_a_track_is_one_line(tmp_path: Path) -> None:
    from pyhdf.SD import SD, SDC

    path = tmp_path / "track.hdf"
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    dataset = file.create("Latitude", SDC.FLOAT64, (4000, 1))
    dataset.setcompress(SDC.COMP_DEFLATE, 6)
    dataset[:] = np.random.default_rng(0).random((4000, 1))
    dataset.endaccess()
    file.end()
    whole = path.read_bytes()
    path.write_bytes(whole[:8000] + np.random.default_rng(1).bytes(12_000) + whole[20_000:])

    with pytest.raises(SceneError, match=r"^track: Latitude cannot be read; damaged\? \([^\n]*\)$"):
        caliop.read_track(path, label="track")
