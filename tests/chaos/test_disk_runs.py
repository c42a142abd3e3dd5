"""Random lives with disks and images: a few of those that scripts/chaos lives."""

from __future__ import annotations

import pytest

from tests.chaos import lives
from tests.chaos.disk_runs import DiskLife


@pytest.mark.slow
def test_nothing_of_disks_and_images_is_left_and_nothing_of_others_is_touched() -> None:
    lived = [lives.live(DiskLife, seed) for seed in (0, 3, 6, 7)]

    assert {life.seed: life.violations for life in lived if life.violations} == {}
    # The lives are not all undisturbed.
    assert any(life.is_interrupted for life in lived)
