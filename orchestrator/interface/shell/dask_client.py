"""A Dask client of a run's cluster for Python on this computer: ``stratus.client()``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import HostError, UsageError

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.dask_clusters import DaskCluster

PACKAGES = ("python", "dask", "distributed", "cloudpickle")
"""Tasks are pickled here and loaded there: these versions must agree."""

TIMEOUT_S = 30


def connect(workspace: Workspace, run: str = "", *, check: bool = True) -> Any:
    """Return a ``distributed.Client`` of the cluster of a run that works.

    :param run: its id, or the end of it; the newest when empty.
    :param check: refuse a cluster whose versions differ from those here.
    :raises UsageError: distributed is missing here, the run has no cluster, or the versions differ.
    :raises HostError: the scheduler does not answer.
    """
    try:
        from distributed import Client, Security
    except ImportError:
        raise UsageError("distributed is not installed here", fix="pip install distributed") from None
    cluster = workspace.session().dask.open(run)
    workspace.close_later(cluster.close)
    # As PEM text: no file with the key is written here.
    security = Security(
        tls_ca_file=cluster.ca, tls_client_cert=cluster.cert, tls_client_key=cluster.key, require_encryption=True
    )
    try:
        client = Client(cluster.address, security=security, timeout=TIMEOUT_S, set_as_default=True)
    except (OSError, TimeoutError) as error:
        cluster.close()
        raise HostError(f"the scheduler of {cluster.run_id} does not answer: {error}", where=cluster.host) from error
    if check:
        _check_versions(client, cluster)
    return client


def _check_versions(client: Any, cluster: DaskCluster) -> None:
    versions = client.get_versions()
    differences = version_differences(versions["client"], versions["scheduler"])
    if differences:
        client.close()
        cluster.close()
        fix = "install the versions of the job here, or those from here in its requirements.txt; check=False connects"
        raise UsageError(f"versions differ: {', '.join(differences)}", where=cluster.host, fix=fix)


def version_differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the packages whose versions differ, with both: ``dask 2026.8.0 here, 2025.1.0 there``."""
    pairs = [(package, _version(here, package), _version(there, package)) for package in PACKAGES]
    return [f"{package} {own} here, {other} there" for package, own, other in pairs if own != other]


def _version(process: Mapping[str, Any], package: str) -> str:
    known = {**process.get("host", {}), **process.get("packages", {})}
    version = str(known.get(package))
    # Bytecode depends on the minor version alone: 3.11.7.final.0 here and 3.11.9.final.0 there agree.
    return ".".join(version.split(".")[:2]) if package == "python" else version
