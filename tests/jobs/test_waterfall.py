"""Seconds per host and phase of a run, kept beside its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.records import waterfall
from orchestrator.jobs.records.waterfall import FILE, HostPhases, Waterfall
from orchestrator.services.waterfalls import WaterfallService

RUN = "20261120-141207-abc"


def test_phases_are_added_in_their_order_and_the_job_counts_from_its_first_line(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    waterfall.begin(folder, ["ml-0", "ml-1"], {"ml-0": {"ssh": 1.0, "api": 0.5}, "other": {"api": 9.0}}, 2.0)
    waterfall.note(folder, "job", {"ml-0": 10.0, "ml-1": 10.0})
    waterfall.note(folder, "first line", {"ml-0": 3.0})
    waterfall.note(folder, "fetch", {"ml-1": 0.2, "other": 1.0})

    first = HostPhases("ml-0", {"api": 0.5, "ssh": 1.0, "start": 2.0, "first line": 3.0, "job": 7.0})
    second = HostPhases("ml-1", {"start": 2.0, "job": 10.0, "fetch": 0.2})
    shown = waterfall.of_run(folder, "train")
    assert shown == Waterfall(RUN, "train", (first, second))
    assert shown.phases == ("api", "ssh", "start", "first line", "job", "fetch")
    assert (shown.slowest("job"), shown.slowest("api")) == (second, first)


@pytest.mark.parametrize("content", ["", "[]", '{"hosts": []}', '{"hosts": {"a": 1, "b": {"job": -1, "ssh": "x"}}}'])
def test_a_damaged_file_has_no_hosts(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)

    assert waterfall.of_run(tmp_path, "train").hosts == ()
    waterfall.note(tmp_path, "fetch", {"a": 1.0})


def test_the_newest_run_is_shown_or_the_launch_or_what_to_do(tmp_path: Path) -> None:
    launches = {"ml-0": {"pending": 1.0}}
    service = WaterfallService(tmp_path, lambda: launches)
    assert service.waterfall().hosts == (HostPhases("ml-0", {"pending": 1.0}),)

    for run_id in (RUN, RUN[:-3] + "xyz", RUN[:-3] + "zzz"):
        (tmp_path / run_id).mkdir()
        (tmp_path / run_id / "record.json").write_text(json.dumps({"job": "train"}))
        if not run_id.endswith("zzz"):
            waterfall.begin(tmp_path / run_id, ["ml-0"], {}, 2.0)
    assert service.waterfall().run_id.endswith("xyz")
    assert service.waterfall("abc").run_id == RUN
    with pytest.raises(UsageError, match="zzz: was started from another computer, or by an earlier version"):
        service.waterfall("zzz")
    with pytest.raises(UsageError, match="k3: no such run here"):
        service.waterfall("k3")
    with pytest.raises(UsageError, match="no launch and no run is recorded here"):
        WaterfallService(tmp_path / "none", dict).waterfall()
