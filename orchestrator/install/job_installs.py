"""Installs of jobs on hosts of one source: complete ones, and those of what a run's job lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.access import left_out_warning
from orchestrator.core.errors import HostError, HostsFailed, StratusError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host, HostSource
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.hosts import parallel
from orchestrator.install import steps
from orchestrator.install.installer import (
    HostInstall,
    Installer,
    InstallReport,
    image_mismatch,
    installed,
    installs_first,
    only_waiting,
)
from orchestrator.install.needs import missing_needs
from orchestrator.install.run_preparation import RunPreparation
from orchestrator.jobs.runner import RunFiles
from orchestrator.jobs.spec import JobSpec
from orchestrator.ssh.line_stream import LineStreams

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings, Settings
    from orchestrator.install.registry_login import RegistryLogin
    from orchestrator.ssh import SshClient


@dataclass(frozen=True)
class JobInstalls:
    """Installs jobs on the hosts of a source.

    :param logs_folder: returns the folder of the hosts' install logs.
    :param registry_login: returns the login that one of some images needs, or None.
    :param record_seconds: called with the name of a job, the duration of its install, and that on each host.
    """

    source: HostSource
    settings: Settings
    ssh: SshClient
    on_event: EventHandler
    logs_folder: Callable[[], Path]
    registry_login: Callable[[InstallSettings, Iterable[str]], RegistryLogin | None]
    record_seconds: Callable[[str, float, Mapping[str, float]], None]
    _reported: set[str] = field(default_factory=set, init=False, repr=False)

    def install(self, job: JobSpec, hosts: Sequence[Host]) -> InstallReport:
        """Install a job's environment, data and code; every host begins as soon as it answers SSH."""
        clock = self.ssh.clock
        started_at = clock.monotonic()
        for line in missing_needs(job):
            self.on_event(Event("", "install", "warning", text=line))
        installer = self.installer(job, len(hosts))
        outcomes = parallel.for_each(hosts, lambda host: installer(self.source.ready(host)), clock=clock)
        # After the last host: its work for all of them (tags) is one API call then, not one per host.
        self.source.all_ready()
        report = self.record(job, outcomes.successful_values(), outcomes.errors, clock.monotonic() - started_at)
        return replace(report, job=self._job_argument(job))

    def installer(self, job: JobSpec, host_count: int) -> Installer:
        """Return the installer of a job on so many hosts, for one host at a time."""
        options = self.settings.install
        login = self.registry_login(options, steps.images_to_pull(job, options))
        plan = steps.install_plan(self.allowing(job), options, login, hashes_folder=self._hashes_folder)
        installer = self._plan_installer(plan, self.logs_folder())
        return replace(installer, on_event=self.on_event, again=self._install_step(job), host_count=host_count)

    def environment_digest(self, job: JobSpec) -> str:
        """Return a digest of a job's environment, by which images of hosts that have it are found."""
        return steps.environment_digest(job, self.settings.install)

    def find_environment_digest(self, load_job: Callable[[], JobSpec]) -> str:
        """Return `environment_digest` of a job; empty if the job cannot be read, which its install reports."""
        with suppress(StratusError, OSError):
            return self.environment_digest(load_job())
        return ""

    def missing_environment(self, job: JobSpec, host: Host) -> tuple[str, ...]:
        """Return the names of the steps that a host lacks of a job's environment; nothing is changed there."""
        plan = steps.check_plan(steps.environment_plan(job, self.settings.install))
        checker = replace(self._plan_installer(plan, self.logs_folder()), on_event=only_waiting(self.on_event))
        return checker(host).missing

    def record(
        self, job: JobSpec, installs: Sequence[HostInstall], failed: Mapping[str, Exception], seconds: float
    ) -> InstallReport:
        """Record the duration of an install, and return its report."""
        self.record_seconds(job.name, seconds, {install.host: install.seconds for install in installs})
        if mismatch := image_mismatch(installs):
            self.on_event(Event("", "image", "warning", text=mismatch))
        return InstallReport(tuple(installs), dict(failed), seconds)

    def prepare_run(self, job: JobSpec, hosts: Sequence[Host], folder: Path) -> None:
        """Upload a job's present code, and install what it lacks on these hosts.

        :param folder: of the run.
        :raises HostsFailed: it could not be installed on all of them.
        """
        if missing := self._missing(self._checker(job, folder, hosts), hosts):
            self._install_missing(job, hosts, missing)

    def prepare_start(self, job: JobSpec, hosts: Sequence[Host], folder: Path, files: RunFiles) -> LineStreams:
        """Prepare a run as `prepare_run` does, in the sessions in which it is started; return those.

        :param folder: of the run.
        :param files: of the run.
        :raises HostsFailed: it could not be prepared on all of them.
        """
        checker = self._checker(job, folder, hosts)

        def prepare() -> tuple[LineStreams, dict[str, tuple[str, ...]]]:
            streams = LineStreams()
            return streams, self._missing(RunPreparation(checker, files, streams), hosts, streams)

        streams, missing = prepare()
        if missing:
            self._install_missing(job, hosts, missing)
            streams, missing = prepare()
        if not missing:
            return streams
        errors = {name: HostError(f"no {', '.join(steps)} here", where=name) for name, steps in missing.items()}
        raise HostsFailed(f"{job.name} is not installed on {len(missing)} of {len(hosts)} VMs", errors)

    def _checker(self, job: JobSpec, folder: Path, hosts: Sequence[Host]) -> Installer:
        """Return the installer of what a run begins with on these hosts.

        :param folder: of the run.
        """
        plan = steps.run_plan(self.allowing(job), self.settings.install, hashes_folder=self._hashes_folder)
        installer = self._plan_installer(plan, folder / "logs")
        return replace(installer, on_event=only_waiting(self.on_event), host_count=len(hosts))

    def _missing(
        self, check: Callable[[Host], HostInstall], hosts: Sequence[Host], streams: LineStreams | None = None
    ) -> dict[str, tuple[str, ...]]:
        """Return the steps that hosts lack, by host.

        :param streams: closed unless nothing is missing.
        """
        missing: dict[str, tuple[str, ...]] | None = None
        try:
            checked = parallel.for_each(hosts, check, clock=self.ssh.clock)
            checked.raise_if_failed("the code could not be uploaded")
            missing = {name: outcome.unwrap().missing for name, outcome in checked.items() if outcome.unwrap().missing}
            return missing
        # Also on Ctrl-C: hosts wait for the start as long as their input is open.
        finally:
            if streams is not None and missing != {}:
                streams.close()

    def _install_missing(self, job: JobSpec, hosts: Sequence[Host], missing: Mapping[str, Sequence[str]]) -> None:
        self.on_event(Event("", "install", "progress", text=installs_first(job.name, _announced(job, missing))))
        seconds = self._install_first(job, [host for host in hosts if host.name in missing])
        self.on_event(Event("", "install", "done", seconds, installed(job.name, list(missing))))

    def _install_first(self, job: JobSpec, hosts: Sequence[Host]) -> float:
        """Install a job, and return how many seconds it took."""
        again = self._install_step(job)
        try:
            report = self.install(job, hosts)
        except KeyboardInterrupt as interrupt:
            add_advice(interrupt, "Nothing was started.", again + "  shows the install, which continues on the VMs")
            raise
        if report.failed:
            message = f"{job.name} could not be installed on {len(report.failed)} of {len(hosts)} VMs"
            raise HostsFailed(message, report.failed, fix=again + " tries again; completed steps are kept")
        return report.seconds

    @property
    def _hashes_folder(self) -> Path:
        return self.logs_folder().with_name("hashes")

    def allowing(self, job: JobSpec) -> JobSpec:
        """Return a job with the credentials that the user's config lets it upload, and the files that it does not."""
        settings = self.settings
        password = settings.install.registry_password_env
        withheld = [settings.path, *([Path(password)] if "/" in password else [])]
        return replace(
            job,
            allowed_files=settings.job.allow_files,
            withheld_files=tuple(path.resolve() for path in withheld),
        )

    def _plan_installer(self, plan: steps.InstallPlan, log_folder: Path) -> Installer:
        self._report_left_out(plan.left_out)
        return Installer(self.ssh, plan, log_folder, timeout_s=self.settings.install.timeout)

    def _report_left_out(self, names: Sequence[str]) -> None:
        # Once: an install that precedes a run uploads the same folder.
        if unreported := [name for name in names if name not in self._reported]:
            self._reported.update(unreported)
            self.on_event(Event("", "code", "warning", text=left_out_warning(unreported)))

    def _install_step(self, job: JobSpec) -> NextStep:
        """Return the hint that installs a job."""
        return NextStep("InstallDeps", **({"job": name} if (name := self._job_argument(job)) else {}))

    def _job_argument(self, job: JobSpec) -> str:
        """Return the name of a job for hints; empty for the one in the settings."""
        return "" if job.named == str(Path(self.settings.job.run)) else job.named


def _announced(job: JobSpec, missing: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return host -> names of the steps that it lacks, as the user knows them from the job's file."""
    # The step of the requirements also completes an environment without any.
    has_requirements = job.requirements_text or job.uses_s3_on_hosts
    return {
        host: [name for name in names if has_requirements or name != "requirements" or len(names) == 1]
        for host, names in missing.items()
    }
