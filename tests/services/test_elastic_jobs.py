"""Hosts that join an elastic run while it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.frameworks import mesh, registry
from orchestrator.jobs.frameworks.registry import Framework
from tests.support.jobs.own_machines import SLEEP_S, Desktop, desktop, is_sleeping, machines, write_job
from tests.support.localcloud.clients import wait_until

__all__ = ["desktop", "machines"]

# What Horovod does with the mesh, without Horovod: the command starts a process on the last host that is alive.
# Once it is connected, as Horovod does: a member that is listed may not listen yet.
ON_LAST_HOST = f"ssh $(tail -n 1 $STRATUS_FOLDER/mesh/members | cut -d' ' -f2) sleep {SLEEP_S}"


@pytest.fixture
def elastic() -> Iterator[Framework]:
    """An elastic framework whose launcher is the job's own command."""
    framework = Framework(
        "elastic",
        multi=lambda layout: mesh.plan_launcher(layout, "mpi.sh"),
        scripts=(*mesh.LAUNCHER_SCRIPTS, "mpi.sh"),
        is_elastic=True,
    )
    registry.frameworks()[framework.name] = framework
    yield framework
    del registry.frameworks()[framework.name]


def test_a_host_that_comes_later_is_added_to_the_run(desktop: Desktop, elastic: Framework) -> None:
    """It is installed, its agent joins the mesh, and every host lists it; a cancel ends its tasks, too."""
    joined = "until grep -c . $STRATUS_FOLDER/state/alive | grep -q 3; do sleep 0.1; done"
    write_job(desktop.job, framework=elastic.name, multi=f"{joined}; {ON_LAST_HOST}", min_hosts=1)
    jobs = desktop.service
    assert not jobs.install(["ml-0", "ml-1"]).failed
    handle = jobs.start(multi=True, names=["ml-0", "ml-1"])
    report = jobs.add_hosts(handle.short_id)
    wait_until(is_sleeping)
    with pytest.raises(UsageError, match="every VM that is up already takes part"):
        jobs.add_hosts()
    hosts = jobs.runs()[-1].hosts
    cancelled = jobs.cancel(handle.run_id)

    assert (report.run_id, report.joined, report.failed) == (handle.run_id, ("ml-2",), {})
    assert hosts == ("ml-0", "ml-1", "ml-2")
    assert cancelled.left == {"ml-0": 0, "ml-1": 0, "ml-2": 0}
    assert not is_sleeping()


def test_a_run_of_another_kind_takes_no_hosts(desktop: Desktop) -> None:
    jobs = desktop.service
    jobs.install()
    jobs.start(multi=True, names=["ml-0"])

    with pytest.raises(UsageError, match="not an elastic run") as caught:
        jobs.add_hosts()
    assert "framework = horovod" in str(caught.value.fix)
