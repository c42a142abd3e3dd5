"""The Python API: one cluster, and the jobs that run on it. Shell and command line use nothing else.

with Session(settings, home=default_home(), runs=Path("runs")) as session:
    session.cluster.launch(session.cluster.plan(2))
    session.jobs.install()
    handle = session.jobs.start(multi=True)
    session.jobs.follow(handle.run_id, on_line=lambda host, line: print(line))
    record = session.jobs.fetch(handle.run_id)
    report = session.cluster.terminate()
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.cluster.context import ClusterContext, Runtime
from orchestrator.cluster.inventory import Inventory
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.created_once import CreatedOnce
from orchestrator.core.events import EventHandler, ignore_event

# A command uses one or two services of many: each is imported by the method that creates it.
if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.aws.managed.sweep import ManagedService, ManagedSweep
    from orchestrator.cluster.launcher import PhaseTimings
    from orchestrator.cluster.preflight import Checks
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.config.settings import Settings
    from orchestrator.hosts.tunnels import Tunnels
    from orchestrator.install.host_tools import HostTools
    from orchestrator.jobs.record import RunRecord
    from orchestrator.jobs.runs import RunHandle
    from orchestrator.jobs.scripts.script_job import JobSource
    from orchestrator.jobs.spec import JobSpec
    from orchestrator.services.account import AccountService
    from orchestrator.services.cluster import ClusterService
    from orchestrator.services.dask_clusters import DaskService
    from orchestrator.services.hosting.endpoints import EndpointService
    from orchestrator.services.hosting.models import RunModels
    from orchestrator.services.hosting.transforms import TransformService
    from orchestrator.services.hosts import HostService
    from orchestrator.services.images import ImageService
    from orchestrator.services.instance_roles import InstanceRoleService
    from orchestrator.services.jobs import JobContext, JobService
    from orchestrator.services.machines.baked_images import BakedImageService
    from orchestrator.services.managed.tuning import TuningService
    from orchestrator.services.managed.tuning_runs import TuningRuns
    from orchestrator.services.notebooks import NotebookService
    from orchestrator.services.roles import RoleService
    from orchestrator.services.runs import RunService
    from orchestrator.services.sagemaker import SageMakerService
    from orchestrator.services.ssh_config import SshConfigService
    from orchestrator.services.storage import StorageService
    from orchestrator.services.tensorboard import TensorBoardService
    from orchestrator.services.waterfalls import WaterfallService


def default_home() -> Path:
    """Return the folder of everything that is kept on this computer: ``STRATUS_HOME``, or the platform's default."""
    if folder := os.environ.get("STRATUS_HOME"):
        return Path(folder).expanduser()
    from platformdirs import user_data_path

    # appauthor: on Windows the folder would otherwise be stratus\stratus.
    return user_data_path("stratus", appauthor=False)


class Session:
    """One cluster and the jobs on it: opens, holds and closes the services.

    :param home: folder of everything that is kept on this computer.
    :param runs: folder that results are fetched into.
    :param on_event: called with every change of state, from several threads.
    :param clients: AWS clients; None creates them from the settings.
    :param runtime: time, SSH and threads; None takes the real ones.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        home: Path,
        runs: Path,
        on_event: EventHandler = ignore_event,
        clients: Clients | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        # The composition root of the Python API: everything below takes its clock from here.
        runtime = runtime or Runtime(REAL_CLOCK)
        if clients is None:
            from orchestrator.aws import client

            clients = client.create_clients(settings.aws, runtime.clock, home / "cache")
        self.settings = settings
        self.context = ClusterContext(settings, home, on_event, clients, runtime)
        self.inventory = Inventory(self.context)
        self._runs_folder = runs

    @CreatedOnce
    def cluster(self) -> ClusterService:
        """Launch, inspect, stop, start, terminate and recover instances."""
        from orchestrator.services.cluster import ClusterService

        return ClusterService(self.inventory, self._timings, self._job_checks, self.ssh_config.keep, self._managed)

    @CreatedOnce
    def jobs(self) -> JobService:
        """Install, start, follow, list, cancel and fetch."""
        from orchestrator.services.jobs import JobService

        return JobService(self.inventory, self._job_context())

    @CreatedOnce
    def hosts(self) -> HostService:
        """Usage, commands and tunnels, on any host."""
        from orchestrator.hosts.recent_hosts import RecentHosts
        from orchestrator.services.hosts import HostService

        context = self.context
        recent = RecentHosts(
            self.inventory,
            context.ssh,
            context.known_hosts,
            context.recent_hosts,
            lambda: context.clients.changes,
            in_threads=not context.runtime.sequential,
        )
        parts = (context.ssh, context.home / "ssh", lambda: self.tunnels, recent, self._install_logs, context.on_event)
        return HostService(self.inventory, *parts)

    @CreatedOnce
    def tunnels(self) -> Tunnels:
        """Open tunnels."""
        from orchestrator.hosts.tunnels import Tunnels

        return Tunnels(self.context.ssh, lambda: self.context.folder / "tunnels")

    @CreatedOnce
    def account(self) -> AccountService:
        """Cost, quotas, instance types, SSH access."""
        from orchestrator.services.account import AccountService

        return AccountService(self.inventory, self._managed)

    @CreatedOnce
    def ssh_config(self) -> SshConfigService:
        """The SSH config for plain ssh, scp, rsync and editors."""
        from orchestrator.services.ssh_config import SshConfigFiles, SshConfigService

        context, files = self.context, SshConfigFiles(self.context.home / "ssh", Path.home() / ".ssh/config")
        return SshConfigService(
            self.inventory, files, lambda: context.folder.name, clock=context.clock, on_event=context.on_event
        )

    @CreatedOnce
    def storage(self) -> StorageService:
        """Files and folders to S3 and back."""
        from orchestrator.aws.storage.unfinished import Unfinished
        from orchestrator.services.storage import StorageService

        unfinished = Unfinished(self.context.home / "transfers", self.context.journal)
        return StorageService(self.context.clients, unfinished, self.context.on_event)

    @CreatedOnce
    def sagemaker(self) -> SageMakerService:
        """Training jobs."""
        from orchestrator.services.sagemaker import SageMakerService

        return SageMakerService(self.context, self._sagemaker.log, self._runs_folder, self._load_upload)

    @CreatedOnce
    def tuning(self) -> TuningService:
        """Tuning jobs, up to their start."""
        from orchestrator.services.managed.tuning import TuningService

        return TuningService(self.context, self._sagemaker.log, self._runs_folder, self.sagemaker.upload_inputs)

    @CreatedOnce
    def endpoints(self) -> EndpointService:
        """Models of runs, served by SageMaker."""
        from orchestrator.services.hosting.endpoints import EndpointService

        return EndpointService(self.context, self._sagemaker.log, self._models)

    @CreatedOnce
    def transforms(self) -> TransformService:
        """Batch transforms."""
        from orchestrator.services.hosting.transforms import TransformService

        return TransformService(self.context, self._sagemaker.log, self._models)

    @CreatedOnce
    def roles(self) -> RoleService:
        """The execution role of SageMaker's containers."""
        from orchestrator.services.roles import RoleService

        return RoleService(self.context)

    @CreatedOnce
    def instance_roles(self) -> InstanceRoleService:
        """The role of the VMs."""
        from orchestrator.services.instance_roles import InstanceRoleService

        return InstanceRoleService(self.context, self.jobs.load_job)

    @CreatedOnce
    def images(self) -> ImageService:
        """Container images for SageMaker."""
        from orchestrator.services.images import ImageService

        return ImageService(self.context, partial(self._load_upload, needs_data=False))

    @CreatedOnce
    def baked_images(self) -> BakedImageService:
        """Images of installed VMs."""
        from orchestrator.services.machines.baked_images import BakedImageService, InstallState

        return BakedImageService(self.inventory, InstallState(self.jobs.load_job, self.jobs.installs))

    @CreatedOnce
    def tuning_runs(self) -> TuningRuns:
        """Tuning jobs from their start on, and training jobs."""
        from orchestrator.services.managed import tuning_runs

        return tuning_runs.create(self.context, self._sagemaker.log, self._runs_folder, self._sagemaker)

    @CreatedOnce
    def runs(self) -> RunService:
        """Runs of all kinds, wherever they run."""
        from orchestrator.services.runs import RunService

        return RunService(self.jobs, [self.tuning_runs.best, self.tuning_runs])

    @CreatedOnce
    def waterfalls(self) -> WaterfallService:
        """Time of runs and launches, by host and phase."""
        from orchestrator.services.waterfalls import WaterfallService

        return WaterfallService(self._runs_folder, self._timings.by_host)

    @CreatedOnce
    def notebooks(self) -> NotebookService:
        """JupyterLab on a host."""
        from orchestrator.services.notebooks import NotebookService

        return NotebookService(self._host_tools, self.tunnels, job_name=lambda: self.jobs.load_job().name)

    @CreatedOnce
    def tensorboard(self) -> TensorBoardService:
        """TensorBoard on a host."""
        from orchestrator.services.tensorboard import TensorBoardService

        return TensorBoardService(self._host_tools, self.tunnels)

    @CreatedOnce
    def dask(self) -> DaskService:
        """Clusters of runs, for clients on this computer."""
        from orchestrator.services.dask_clusters import DaskService

        return DaskService(self.inventory, self.context.ssh, self.tunnels, self._runs_folder)

    @CreatedOnce
    def _timings(self) -> PhaseTimings:
        from orchestrator.cluster.launcher import PhaseTimings

        return PhaseTimings(self.context)

    @CreatedOnce
    def _models(self) -> RunModels:
        from orchestrator.services.hosting.models import RunModels

        return RunModels(self.context, self._runs_folder, partial(self._load_upload, needs_data=False))

    @CreatedOnce
    def _host_tools(self) -> HostTools:
        from orchestrator.install.host_tools import HostTools

        context = self.context
        return HostTools(self.inventory, context.ssh, self.settings.install, context.on_event, self._install_logs)

    def _install_logs(self) -> Path:
        return self.context.folder / "logs"

    def _load_upload(self, job: JobSource | None = None, *, needs_data: bool = True) -> JobSpec:
        """Read a job, with the files that must not, or may, be uploaded by the settings."""
        return self.jobs.installs.allowing(self.jobs.load_job(job, needs_data=needs_data))

    @CreatedOnce
    def _sagemaker(self) -> ManagedService:
        from orchestrator.services.managed import resources

        return resources.sagemaker(self.context)

    @CreatedOnce
    def _managed(self) -> ManagedSweep:
        from orchestrator.services.machines.baked_images import managed_service
        from orchestrator.services.managed import elsewhere

        return elsewhere.sweep(self.context, managed_service)

    def _job_checks(self, job: JobSource | None = None) -> Checks:
        from orchestrator.aws.storage import s3
        from orchestrator.cluster.preflight import INSTALL_DIGEST
        from orchestrator.install.needs import missing_needs
        from orchestrator.jobs import inputs

        # Handed in as functions: a cluster is launched without knowing what a job is.
        load_job = partial(self.jobs.load_job, job)
        checks = inputs.checks(partial(s3.find, self.context.clients), load_job, missing_needs)
        return checks | {INSTALL_DIGEST: partial(self.jobs.installs.find_environment_digest, load_job)}

    def _job_context(self) -> JobContext:
        from orchestrator.aws import ecr
        from orchestrator.aws.storage.result_store import S3ResultStore
        from orchestrator.install import registry_login
        from orchestrator.services.jobs import JobContext

        context = self.context
        # Requested when a host logs in, not now: the token is valid for twelve hours, and most images need none.
        ecr_token = partial(ecr.authorization_token, context.clients)
        return JobContext(
            settings=self.settings,
            ssh=context.ssh,
            on_event=context.on_event,
            clock=context.clock,
            runs_folder=self._runs_folder,
            folder_list=self.context.home / "run-folders",
            # Not before it is needed: the folder's name contains the caller's identity, which takes a call to AWS.
            logs_folder=lambda: context.folder / "logs",
            timings=self._timings,
            run_cost=self.inventory.bill,
            registry_login=lambda options, images: registry_login.find_login(ecr_token, options, images, os.environ),
            on_spot_reclaim=lambda names: self.cluster.record_spot_reclaims(names),
            environ=os.environ,
            result_store=S3ResultStore(self.context.clients),
            tunnels=self.tunnels,
            instance_states=lambda: {instance.id: instance.state for instance in self.inventory.instances()},
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; instances and jobs stay as they are."""
        self.context.ssh.close()

    def plan_experiment(self, count: int | None = None, job: JobSource | None = None) -> LaunchPlan:
        """Look up and check what an experiment needs, and its price; nothing is changed.

        :param count: number of instances; None for the setting of that name.
        :param job: another job than the one in the settings, or a script.
        :raises NotReady: several problems prevent the launch.
        """
        return self.cluster.plan(count, self._job_checks(job))

    def experiment(
        self,
        *,
        multi: bool,
        count: int | None = None,
        plan: LaunchPlan | None = None,
        job: JobSource | None = None,
        on_line: Callable[[str, str], None] = lambda host, line: None,
        on_start: Callable[[RunHandle], None] = lambda handle: None,
    ) -> tuple[RunRecord, TerminateReport]:
        """Launch, install, run, fetch and terminate in one call; the launch is terminated even if a step fails.

        Other instances of the cluster are neither used nor terminated.

        :param multi: run on all launched hosts together; otherwise on the first.
        :param count: number of instances; None for the setting of that name.
        :param plan: of the launch, in the place of `count`: one that was shown to the user.
        :param job: another job than the one in the settings, or a script.
        :param on_line: called with (host, line) of the run's output.
        :param on_start: called with the run once it was started.
        :raises StratusError: a step failed; instances that could not be terminated are listed with it.
        """
        from orchestrator import experiment

        count = plan.count if plan else count or self.settings.cluster.count
        # First of all: a job that cannot run must not cost anything.
        self.jobs.check(multi=multi, count=count, folder=job)
        plan = plan or self.plan_experiment(count, job)
        kept_minutes = self.settings.vms.keep_failed_minutes
        steps = experiment.Experiment(self.cluster, self.jobs, self.context.on_event, kept_minutes)
        return steps.run(plan, job, multi=multi, on_line=on_line, on_start=on_start)
