"""Assembly of a cloud's SageMaker."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcloud.core.addresses import AddressBlock, JobAddresses
from localcloud.core.disk_folders import DiskFolders
from localcloud.core.home import Home
from localcloud.ec2.environment import CloudEnvironment
from localcloud.hosts.process import visible_paths
from localcloud.hosts.process.disk import network_variables
from localcloud.sagemaker.autoscaling import Autoscaling
from localcloud.sagemaker.containers.engine import ContainerEngine
from localcloud.sagemaker.containers.image import Images
from localcloud.sagemaker.containers.namespaces import Namespaces
from localcloud.sagemaker.dispatch import SageMaker
from localcloud.sagemaker.hosting.api import Hosting
from localcloud.sagemaker.hosting.interface import Site
from localcloud.sagemaker.hosting.servers import ProcessSite
from localcloud.sagemaker.runs.execution import Executor
from localcloud.sagemaker.runs.process_runs import ProcessExecutor
from localcloud.sagemaker.training.api import TrainingApi
from localcloud.sagemaker.training.lifecycle import TrainingLifecycle
from localcloud.sagemaker.tuning.api import TuningApi
from localcloud.sagemaker.tuning.controller import TuningController


@dataclass(frozen=True)
class SageMakerParts:
    """SageMaker of one cloud: its calls, and its jobs."""

    dispatch: SageMaker
    training: TrainingApi
    tuning: TuningApi
    hosting: Hosting
    autoscaling: Autoscaling

    def close(self) -> None:
        """End every job and endpoint."""
        self.hosting.close()
        self.training.lifecycle.close()


def build(
    environment: CloudEnvironment, executor: Executor, site: Site, is_missing: Callable[[str], bool]
) -> SageMakerParts:
    """Build the SageMaker of a cloud.

    :param site: where models are served.
    :param is_missing: returns True for an image that the registry does not have.
    """
    dispatch = SageMaker()
    training = TrainingApi(TrainingLifecycle(environment, executor))
    dispatch.add(training.actions)
    tuning = TuningApi(TuningController(training))
    dispatch.add(tuning.actions)
    hosting = Hosting(environment, site)
    hosting.models.is_missing = is_missing
    dispatch.add(hosting.actions)
    dispatch.runtime = hosting.runtime
    autoscaling = Autoscaling(hosting.endpoints, hosting.queue)
    hosting.endpoints.is_scaled = autoscaling.is_scaled
    return SageMakerParts(dispatch, training, tuning, hosting, autoscaling)


def model_site(executor: ProcessExecutor, home: Home) -> ProcessSite:
    """Return the place where models are served: as processes, beside those of the training jobs."""
    return ProcessSite(
        executor.environment,
        executor.engine,
        home.jobs_folder / "models",
        executor.endpoint,
        lambda: executor.addresses(1)[0],
    )


def process_executor(environment: CloudEnvironment, home: Home, block: AddressBlock) -> ProcessExecutor:
    """Return the executor that runs jobs as processes of this computer."""
    images = Images.from_environ(os.environ)
    engine = ContainerEngine(_container_environment(home, block), _namespaces(home, images), images)
    addresses = JobAddresses(block.index)
    shared = DiskFolders(home.folder, home.hosts_folder).shared
    return ProcessExecutor(environment, engine, home.jobs_folder, block.url, addresses.take, shared)


def _namespaces(home: Home, images: Images) -> Namespaces:
    """Return namespaces in which the user's own files are hidden, as they are from process hosts."""
    hidden = visible_paths.private_paths(os.environ) | {home.folder, Path("/var/tmp")}
    shown = visible_paths.toolchain_paths() | visible_paths.network_files(os.environ)
    return Namespaces(tuple(hidden), tuple(shown | visible_paths.shared_paths(os.environ) | images.folders))


def _container_environment(home: Home, block: AddressBlock) -> dict[str, str]:
    variables = network_variables(os.environ, home.folder)
    if any(name.lower().endswith("_proxy") for name in variables):
        exceptions = f"localhost,127.0.0.1,127.0.0.0/8,{block.endpoint}"
        for name in ("no_proxy", "NO_PROXY"):
            variables[name] = ",".join(filter(None, [variables.get(name), exceptions]))
    # The mark by which processes are found that a killed daemon left behind.
    return {**variables, "LOCALCLOUD_HOSTS": str(home.folder.resolve())}
