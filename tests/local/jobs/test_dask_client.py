"""stratus.client(): a Dask client of this computer on the cluster of a run, with TLS, through a tunnel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.shell import dask_client
from orchestrator.interface.workspace import Workspace
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with one VM, on which a Dask job waits for a file."""
    project = Project(tmp_path_factory.mktemp("dask"), "dc", cloud)
    wait = "while [ ! -e ~/enough ]; do sleep 0.1; done"
    project.job(
        f"framework = dask\nrequirements = requirements.txt\nsingle = true\nmulti = {wait}\n",
        requirements__txt="distributed\n",
    )
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(1)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def test_a_client_computes_on_the_cluster_of_a_run_that_works(project: Project) -> None:
    with project.session() as session:
        workspace = Workspace(project.config, Console(), REAL_CLOCK, session_factory=lambda *_, **__: session)
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        with pytest.raises(UsageError, match="has no Dask cluster"):
            dask_client.connect(workspace)
        run = session.jobs.start(multi=True)
        client = wait_until(lambda: connected(workspace))
        total = client.submit(sum, [40, 2]).result(timeout=60)
        purposes = [tunnel.purpose for tunnel in session.hosts.open_tunnels()]
        client.close()
        session.hosts.run_command("touch ~/enough")
        session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        with pytest.raises(UsageError, match="is done: its Dask cluster has ended with it"):
            dask_client.connect(workspace)

    assert total == 42
    assert "Dask scheduler" in purposes


def connected(workspace: Workspace) -> object:
    """Return a client; None while the scheduler is starting."""
    from orchestrator.core.errors import HostError

    try:
        return dask_client.connect(workspace)
    except HostError:
        return None
