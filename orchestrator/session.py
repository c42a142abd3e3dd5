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
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.aws import client, ecr
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoints
from orchestrator.aws.sagemaker.hosting.transforms import TransformJobs
from orchestrator.aws.sagemaker.managed import ManagedKind, ManagedLog, ManagedSweep
from orchestrator.aws.sagemaker.training import TrainingJobs
from orchestrator.aws.sagemaker.tuning import TuningJobs
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.aws.storage import s3
from orchestrator.aws.storage.result_store import S3ResultStore
from orchestrator.aws.storage.unfinished import Unfinished
from orchestrator.cluster import preflight
from orchestrator.cluster.context import ClusterContext, Runtime
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.launcher import PhaseTimings
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core import interrupts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostsFailed, StratusError, first_line
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.next_step import add_advice, join, replace_advice
from orchestrator.hosts.tunnels import Tunnels
from orchestrator.install import registry_login
from orchestrator.install.host_tools import HostTools
from orchestrator.install.needs import missing_needs
from orchestrator.jobs import inputs
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runs import RunHandle
from orchestrator.services.account import AccountService
from orchestrator.services.cluster import ClusterService
from orchestrator.services.dask_clusters import DaskService
from orchestrator.services.hosting.endpoints import EndpointService
from orchestrator.services.hosting.models import RunModels
from orchestrator.services.hosting.transforms import TransformService
from orchestrator.services.hosts import HostService
from orchestrator.services.images import ImageService
from orchestrator.services.jobs import JobContext, JobService
from orchestrator.services.managed.training_runs import TrainingRuns
from orchestrator.services.managed.tuning import TuningService
from orchestrator.services.notebooks import NotebookService
from orchestrator.services.roles import RoleService
from orchestrator.services.runs import RunService
from orchestrator.services.sagemaker import SageMakerService
from orchestrator.services.ssh_config import SshConfigFiles, SshConfigService
from orchestrator.services.storage import StorageService
from orchestrator.services.tensorboard import TensorBoardService

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.config.settings import Settings
    from orchestrator.jobs.scripts.script_job import JobSource
    from orchestrator.jobs.spec import JobSpec


def default_home() -> Path:
    """Return the folder of everything that is kept on this computer: ``STRATUS_HOME``, or the platform's default."""
    if folder := os.environ.get("STRATUS_HOME"):
        return Path(folder).expanduser()
    from platformdirs import user_data_path

    # appauthor: on Windows the folder would otherwise be stratus\stratus.
    return user_data_path("stratus", appauthor=False)


class Session:
    """One cluster and the jobs on it: opens, holds and closes the services.

    :ivar cluster: launch, inspect, stop, start, terminate and recover instances.
    :ivar jobs: install, start, follow, list, cancel and fetch.
    :ivar sagemaker: training jobs.
    :ivar endpoints: models of runs, served by SageMaker.
    :ivar transforms: batch transforms.
    :ivar tuning: tuning jobs.
    :ivar roles: the execution role of SageMaker's containers.
    :ivar images: container images for SageMaker.
    :ivar runs: runs of both, wherever they run.
    :ivar hosts: usage, commands and tunnels, on any host.
    :ivar notebooks: JupyterLab on a host.
    :ivar storage: files and folders to S3 and back.
    :ivar tensorboard: TensorBoard on a host.
    :ivar dask: clusters of runs, for clients on this computer.
    :ivar ssh_config: the SSH config for plain ssh, scp, rsync and editors.
    :ivar account: cost, quotas, instance types, SSH access.
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
        clients = clients or client.create_clients(settings.aws, runtime.clock)
        self.settings = settings
        self.context = ClusterContext(settings, home, on_event, clients, runtime)
        self.inventory = Inventory(self.context)
        timings = PhaseTimings(self.context)
        # The checks of the job are requested at every plan: its folder may change in between.
        self.ssh_config = self._ssh_config(home / "ssh")
        managed = self._managed()
        self.cluster = ClusterService(self.inventory, timings, self._job_checks, self.ssh_config.keep, managed)
        self.tunnels = Tunnels(self.context.ssh, lambda: self.context.folder / "tunnels")
        self.hosts = HostService(self.inventory, self.context.ssh, home / "ssh", self.tunnels, on_event)
        self.account = AccountService(self.inventory)
        self.jobs = JobService(self.inventory, self._job_context(runs, timings))
        unfinished = Unfinished(home / "transfers", self.context.journal)
        self.storage = StorageService(clients, unfinished, on_event)
        training_runs = TrainingRuns(self.context, managed.log, runs, lambda: managed.is_used)
        self.sagemaker = SageMakerService(self.context, managed.log, runs, self._load_upload)
        self.tuning = TuningService(self.context, managed.log, runs, self.sagemaker.upload_inputs)
        self.roles = RoleService(self.context)
        self.images = ImageService(self.context, self._load_upload)
        self.runs = RunService(self.jobs, training_runs)
        models = RunModels(self.context, runs, self._load_upload)
        self.endpoints = EndpointService(self.context, managed.log, models)
        self.transforms = TransformService(self.context, managed.log, models)
        tools = HostTools(self.inventory, self.context.ssh, settings.install, on_event, self._install_logs)
        self.notebooks = NotebookService(tools, self.tunnels, job_name=lambda: self.jobs.load_job().name)
        self.tensorboard = TensorBoardService(tools, self.tunnels)
        self.dask = DaskService(self.inventory, self.context.ssh, self.tunnels, runs)

    def _install_logs(self) -> Path:
        return self.context.folder / "logs"

    def _ssh_config(self, folder: Path) -> SshConfigService:
        context, files = self.context, SshConfigFiles(folder, Path.home() / ".ssh/config")
        return SshConfigService(
            self.inventory, files, lambda: context.folder.name, clock=context.clock, on_event=context.on_event
        )

    def _load_upload(self, job: JobSource | None = None) -> JobSpec:
        """Read a job, with the files that must not, or may, be uploaded by the settings."""
        return self.jobs.installs.allowing(self.jobs.load_job(job))

    def _managed(self) -> ManagedSweep:
        context, settings = self.context, self.settings.sagemaker
        log = ManagedLog(context.journal, lambda: context.cluster_id, context.clock)
        types = ((TrainingJobs, Use.TRAINING), (Endpoints, Use.HOSTING), (TransformJobs, Use.TRANSFORM))
        # Tuning jobs first: one that goes on replaces the training jobs that were stopped.
        tuning_jobs: ManagedKind = TuningJobs(context.clients, lambda: context.cluster_id)
        kinds: list[ManagedKind] = [
            kind(context.clients, lambda: context.cluster_id, partial(self._managed_price, use)) for kind, use in types
        ]
        is_configured = bool(settings.role or settings.sagemaker_bucket)
        return ManagedSweep([tuning_jobs, *kinds], log, context.clock, is_configured=is_configured)

    def _managed_price(self, use: Use, instance_type: str) -> Decimal | None:
        price = self.context.managed_prices.per_hour(instance_type, use)
        return price.usd if price else None

    def _job_checks(self, job: JobSource | None = None) -> preflight.Checks:
        # Handed in as functions: a cluster is launched without knowing what a job is.
        load_job = partial(self.jobs.load_job, job)
        return inputs.checks(partial(s3.find, self.context.clients), load_job, missing_needs)

    def _job_context(self, runs: Path, timings: PhaseTimings) -> JobContext:
        context = self.context
        # Requested when a host logs in, not now: the token is valid for twelve hours, and most images need none.
        ecr_token = partial(ecr.authorization_token, context.clients)
        return JobContext(
            settings=self.settings,
            ssh=context.ssh,
            on_event=context.on_event,
            clock=context.clock,
            runs_folder=runs,
            folder_list=self.context.home / "run-folders",
            # Not before it is needed: the folder's name contains the caller's identity, which takes a call to AWS.
            logs_folder=lambda: context.folder / "logs",
            timings=timings,
            run_cost=self.inventory.bill,
            registry_login=lambda options, images: registry_login.find_login(ecr_token, options, images, os.environ),
            on_spot_reclaim=self.cluster.record_spot_reclaims,
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
        count = plan.count if plan else count or self.settings.cluster.count
        # First of all: a job that cannot run must not cost anything.
        self.jobs.check(multi=multi, count=count, folder=job)
        plan = plan or self.plan_experiment(count, job)
        started: list[RunHandle] = []

        def note_start(handle: RunHandle) -> None:
            started.append(handle)
            on_start(handle)

        try:
            record = self._experiment(plan, job, note_start, multi=multi, on_line=on_line)
        except KeyboardInterrupt as interrupt:
            fetched = self._fetch_interrupted(started)
            # Unattended instances would be billed until their automatic shutdown.
            self._terminate_after_failure(plan, interrupt, fetched)
            raise
        except Exception as error:
            self._terminate_after_failure(plan, error)
            raise
        with interrupts.ending_signals_wait():
            return record, self.cluster.terminate_launch(plan.launch_id)

    def _experiment(
        self,
        plan: LaunchPlan,
        job: JobSource | None,
        on_start: Callable[[RunHandle], None],
        *,
        multi: bool,
        on_line: Callable[[str, str], None],
    ) -> RunRecord:
        """Run the job once, on what the plan launches; every host installs as soon as its own SSH is up."""
        loaded = self.jobs.load_job(job)
        report, installs = self.cluster.launch_and(plan, self.jobs.installer(loaded))
        self.jobs.record_install(installs, {}, max((install.seconds for install in installs), default=0.0), loaded)
        if report.failed:
            raise HostsFailed(f"{len(report.failed)} of {plan.count} VMs failed", report.failed)
        handle = self.jobs.start(multi=multi, folder=job, names=[host.name for host in report.ready], follow=True)
        on_start(handle)
        self.jobs.follow(handle.run_id, on_line=on_line)
        return self.jobs.fetch(handle.run_id)

    def _fetch_interrupted(self, started: Sequence[RunHandle]) -> list[str]:
        """Cancel an interrupted run, fetch what it has written, and return the outcome; a second Ctrl-C skips it."""
        for handle in started:
            text = f"fetching what the run has written; {interrupts.skipping_signal()} skips it"
            try:
                with interrupts.ending_signals_skip():
                    self.context.on_event(Event("", "interrupted", "progress", text=text))
                    self.jobs.cancel(handle.run_id)
                    record = self.jobs.fetch(handle.run_id)
            except KeyboardInterrupt:
                return [f"Results of run {handle.short_id} were not fetched."]
            # Every error: the instances have to be terminated all the same.
            except Exception as error:
                return [f"Results of run {handle.short_id} were not fetched: {first_line(error)}"]
            missing = f", but not everything from {' '.join(record.failed)}" if record.failed else ""
            return [f"What the run had written is in {record.folder}/{missing}."]
        return []

    def _terminate_after_failure(self, plan: LaunchPlan, error: BaseException, fetched: Sequence[str] = ()) -> None:
        """Terminate the launch; add what remains to the error, which must not be replaced by a second one.

        :param fetched: lines on the results of an interrupted run.
        """
        names: tuple[str, ...] = ()
        try:
            with interrupts.ending_signals_wait():
                report = self.cluster.terminate_launch(plan.launch_id)
            remaining, names = report.remaining, tuple(result.name for result in report.instances)
        except StratusError as failure:
            remaining = tuple(failure.lines())
        if remaining:
            add_advice(error, "left: " + join("; ", remaining), *fetched)
        elif names and isinstance(error, KeyboardInterrupt):
            # What the interrupted step advised is past: it named these instances as up.
            replace_advice(error, f"{' '.join(names)} {'is' if len(names) == 1 else 'are'} terminated.", *fetched)
