"""JSON files."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core import json_file


def test_a_file_that_cannot_be_replaced_leaves_no_half_of_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "facts.json").mkdir()

    with pytest.raises(OSError, match="directory"):
        json_file.save(tmp_path, "facts.json", {"a": 1})

    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]
