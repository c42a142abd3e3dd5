"""Use case: the time of a run, or of a launch, by host and phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import record
from orchestrator.jobs.records import waterfall
from orchestrator.jobs.records.waterfall import Waterfall


class WaterfallService:
    """Waterfalls of the runs of this computer; makes no API call for a run.

    :param launch: returns host -> seconds per phase of the cluster's last launch.
    """

    def __init__(self, runs_folder: Path, launch: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        self._runs_folder = runs_folder
        self._launch = launch

    def waterfall(self, run_id: str = "") -> Waterfall:
        """Return the waterfall of a run.

        :param run_id: its id, or the end of it; the newest when empty, or the last launch if there is no run.
        :raises UsageError: nothing is recorded.
        """
        runs = [run for run in record.past_runs(self._runs_folder) if run.run_id.endswith(run_id)]
        recorded = [chart for run in runs if (chart := waterfall.of_run(run.folder, run.job)).hosts]
        if recorded:
            return recorded[-1]
        if run_id:
            if runs and record.is_managed(runs[-1].folder):
                name = runs[-1].run_id
                fix = NextStep("FetchResults", name) + "  shows the seconds of each of its phases"
                raise UsageError(f"{name} is a run on SageMaker: a waterfall is of runs on VMs", fix=fix)
            reason = "was started from another computer, or by an earlier version" if runs else "no such run here"
            raise UsageError(f"{run_id}: {reason}", fix=NextStep("History") + "  lists the runs of this computer")
        launch = waterfall.of_launch(self._launch())
        if not launch.hosts:
            raise UsageError("no launch and no run is recorded here", fix=NextStep("LaunchInstances"))
        return launch
