"""Record of a run on this computer: everything that is needed to run it again, and its results.

A run can be followed, fetched and cancelled without it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from orchestrator.config.settings import Settings, to_rows
from orchestrator.core import cost, json_file
from orchestrator.core.cost import Bill
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, join
from orchestrator.core.version import __version__
from orchestrator.hosts.parallel import Outcomes
from orchestrator.jobs import results
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.records import job_places, waterfall
from orchestrator.jobs.runs import RUN_ID, Run, TaskExit

FILE = "record.json"
MANAGED_KEYS = ("training_job", "tuning_job")
"""Parts of the record of a run on SageMaker."""

FETCHED_SHOWN = 3
NOT_FETCHED = "not fetched"
NOTHING_FETCHED = "it was not fetched before: its outputs and logs are deleted with the disks"
CLUSTER_SETTINGS = ("cluster.name", "cluster.owner", "aws.region", "aws.profile", "aws.endpoint_url")
"""Settings that name the cluster of a run."""


@dataclass(frozen=True)
class RunRecord:
    """A fetched run.

    :param folder: of the run on this computer.
    :param state: done, failed, timeout, cancelled, lost, or running (then the outputs are partial).
    :param outputs: files received, relative to ``folder``.
    :param received_bytes: their size as transferred, logs included.
    :param seconds: duration of the transfer.
    :param metrics: the content of the job's ``metrics.json``, empty without one.
    :param timings: seconds per phase: api, pending, boot, ssh, install, job (as far as known).
    :param cost_usd: for the job's own time on its hosts; None when a price is unknown.
    :param failed: host -> why nothing was received from it.
    :param bill: parts of ``cost_usd``.
    :param problems: one line for each thing of the job's that could not be read, or was not fetched.
    :param metrics_host: the host that wrote ``metrics``, if others wrote their own.
    """

    run_id: str
    job: str
    folder: Path
    state: str
    hosts: tuple[str, ...]
    outputs: tuple[str, ...]
    received_bytes: int
    seconds: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    failed: Mapping[str, Exception] = field(default_factory=dict)
    bill: Bill | None = None
    problems: tuple[str, ...] = ()
    metrics_host: str = ""


def start_record(
    folder: Path,
    plan: JobPlan,
    settings: Settings,
    timings: Mapping[str, float],
    started_at: datetime,
    instances: Mapping[str, str],
) -> None:
    """Write everything that is needed to run a job again; :func:`complete_record` adds its results.

    :param folder: of the run.
    :param timings: seconds per phase before the run: of the launch, of the install.
    :param instances: host -> id of its instance.
    """
    facts = {
        "run": plan.run_id,
        "job": plan.spec.name,
        **job_places.facts(plan.spec),
        "multi": plan.multi,
        "hosts": list(plan.hosts),
        "instances": dict(instances),
        # Secrets are masked by to_rows(): runs/ is shared and archived.
        "settings": {f"{section}.{option}": value for section, option, value, _ in to_rows(settings)},
        "commands": {f"{task.host} {task.role}": task.command for task in plan.tasks},
        "image": plan.spec.options.image if plan.spec.runtime == "docker" else "",
        "timings": dict(timings),
        "started": started_at.isoformat(timespec="seconds"),
        # Results of another version may differ.
        "stratus": __version__,
    }
    if plan.spec.options.results:
        facts["results"] = plan.spec.options.results
    json_file.save(folder, FILE, facts)


def complete_record(
    folder: Path,
    run: Run,
    received: Outcomes[results.Received],
    bill: Bill,
    *,
    seconds: float,
    fetched_at: datetime,
    instances: Mapping[str, str] | None = None,
    state: str = "",
) -> RunRecord:
    """Add the results of a run to its record, and return them.

    :param folder: of the run, as it was fetched.
    :param received: per host.
    :param seconds: duration of the transfer.
    :param instances: host -> id of its instance; recorded for a run that was started from another computer.
    :param state: of a run that consists of more than was fetched; empty: that of ``run``.
    """
    # Empty for a run that was started from another computer.
    started = json_file.load(folder, FILE)
    metrics = results.read_metrics(folder, run.hosts)
    job_s = {"job": run.seconds} if run.seconds is not None else {}
    # A user may edit the record.
    timings = started["timings"] if isinstance(started.get("timings"), dict) else {}
    record = RunRecord(
        run_id=run.run_id,
        job=run.job,
        folder=folder,
        state=state or run.state,
        hosts=run.hosts,
        outputs=results.list_outputs(folder),
        received_bytes=sum(content.total_bytes for content in received.successful_values()),
        seconds=seconds,
        metrics=metrics.values,
        timings={**timings, **job_s},
        cost_usd=bill.total,
        failed=received.errors,
        bill=bill,
        problems=tuple(filter(None, (metrics.problem, *_output_problems(run, received)))),
        metrics_host=metrics.host,
    )
    waterfall.note(folder, "job", dict.fromkeys(run.hosts, run.seconds) if run.seconds is not None else {})
    waterfall.note(folder, "fetch", {name: outcome.seconds for name, outcome in received.succeeded.items()})
    facts = {"instances": dict(instances)} if instances else {}
    json_file.save(folder, FILE, {**facts, **started, **_result_facts(record, bill, fetched_at)})
    return record


def _output_problems(run: Run, received: Outcomes[results.Received]) -> Iterator[str]:
    values = received.successful_values()
    yield results.left_out_warning(values)
    # A job that failed may not have come to its outputs, and a host that was not fetched may have them.
    if run.state == "done" and not received.errors:
        yield results.absent_warning(values, run.outputs)


def _result_facts(record: RunRecord, bill: Bill, fetched_at: datetime) -> dict[str, Any]:
    return {
        "run": record.run_id,
        "job": record.job,
        "hosts": list(record.hosts),
        "state": record.state,
        "outputs": list(record.outputs),
        "timings": dict(record.timings),
        "cost_usd": cost.decimals(record.cost_usd),
        "bill": cost.to_record(bill),
        "versions": results.read_versions(record.folder),
        "image_digests": list(results.read_image_digests(record.folder)),
        "fetched": fetched_at.isoformat(timespec="seconds"),
        "not_received": sorted(record.failed),
    }


def note_end(folder: Path, ended_at: datetime, exits: Sequence[TaskExit] = ()) -> None:
    """Note in a run's record that it has ended, although it was not fetched; a run without a record stays so.

    :param exits: of its main tasks, if they were followed.
    """
    first_lines = {task.host: task.first_line_s for task in exits if task.first_line_s is not None}
    waterfall.note(folder, "first line", first_lines)
    # Only for the lists of this computer: a full disk must not hide the run's outcome.
    with suppress(OSError):
        facts = json_file.load(folder, FILE)
        if facts and not facts.get("ended"):
            json_file.save(folder, FILE, {**facts, "ended": ended_at.isoformat(timespec="seconds")})


def note_stopped(runs_folder: Path, instance_ids: Collection[str], stopped_at: datetime) -> list[str]:
    """Note the end of the runs on stopped instances, and return the ids of those not known to have ended before."""
    folders = not_fetched(runs_folder, instance_ids, not_ended=True)
    for folder in folders:
        note_end(folder, stopped_at)
    return [folder.name for folder in folders]


def not_fetched(runs_folder: Path, instance_ids: Collection[str], *, not_ended: bool = False) -> list[Path]:
    """Return the folders of the runs on some instances that were started here and not fetched after their end.

    :param not_ended: only those that are not known to have ended.
    """
    runs = [(folder, json_file.load(folder, FILE)) for folder in _folders(runs_folder, "")]
    return [
        folder
        for folder, facts in runs
        if set(_instances(facts)) & set(instance_ids)
        and (not facts.get("fetched") or facts.get("state") == "running")
        and not (not_ended and facts.get("ended"))
    ]


@dataclass(frozen=True)
class RecordedRun:
    """A run as the record of this computer names it; empty without a record.

    :param roles: host -> roles it had at the start.
    :param instances: ids of its instances; the name of a host without an id.
    """

    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instances: frozenset[str] = frozenset()


def recorded_run(runs_folder: Path, run_id: str) -> RecordedRun:
    """Return the hosts that a run was started on from this computer; none without a record, or in an early one."""
    if not RUN_ID.fullmatch(run_id):
        return RecordedRun()
    facts = json_file.load(runs_folder / run_id, FILE)
    named, commands = facts.get("instances"), facts.get("commands")
    instances = named if isinstance(named, dict) else {}
    # Not its "hosts": a fetch writes those, as the hosts list them.
    roles: dict[str, tuple[str, ...]] = dict.fromkeys(instances, ())
    for task in commands if isinstance(commands, dict) else ():
        host, _, role = task.rpartition(" ")
        if host:
            roles[host] = (*roles.get(host, ()), role)
    return RecordedRun(roles, frozenset(str(value or host) for host, value in instances.items()))


def explain_missing(
    error: UsageError, runs_folder: Path, id_suffix: str, *, settings: Settings, present: Collection[str]
) -> UsageError:
    """Return an error about a run that no VM has, with what this computer knows of the run.

    :param id_suffix: id of the run, or the end of it; empty for the newest.
    :param present: ids of the cluster's instances that are not terminated.
    """
    folders = _folders(runs_folder, id_suffix)
    facts = [json_file.load(folder, FILE) for folder in folders]
    latest = facts if id_suffix else facts[-1:]
    if latest and any(key in latest[-1] for key in MANAGED_KEYS):
        # Verbs on any run find it: this one needs the VMs of a run.
        name = latest[-1].get("run", folders[-1].name)
        verbs = join(", ", (NextStep(verb, str(name)) for verb in ("Logs", "Attach", "CancelJob", "FetchResults")))
        return UsageError(f"{name} is a run on SageMaker: this is for runs on VMs", fix=verbs + " take it")
    if id_suffix and not folders and not present:
        return UsageError(f"no run {id_suffix}", fix=NextStep("Runs") + " lists them")
    message, fix = error.message, error.fix
    if latest and all(_is_terminated(record, settings, present) for record in latest):
        # A new VM, as the error proposes, would cost money and have nothing of the run.
        message = f"the VMs of run {', '.join(str(record['run']) for record in latest[-FETCHED_SHOWN:])} are terminated"
        fix = "" if any(record.get("fetched") for record in latest) else NOTHING_FETCHED
        folders = folders if id_suffix else folders[-1:]
    # A run that was only started here has a record as well.
    fetched = [folder for folder in folders if json_file.load(folder, FILE).get("fetched")][-FETCHED_SHOWN:]
    text = f"fetched before: {', '.join(f'{folder}/' for folder in fetched)}" if fetched else ""
    return UsageError(message, where=error.where, code=error.code, fix=join("\n  ", filter(None, [text, fix])))


def is_managed(folder: Path) -> bool:
    """Return True if the run of a folder was, by its record, one on SageMaker."""
    return any(key in json_file.load(folder, FILE) for key in MANAGED_KEYS)


def _folders(runs_folder: Path, id_suffix: str) -> list[Path]:
    """Return the folders of the runs whose ids end so, oldest first."""
    folders = sorted(path.parent for path in runs_folder.glob(f"*/{FILE}"))
    return [folder for folder in folders if RUN_ID.fullmatch(folder.name) and folder.name.endswith(id_suffix)]


def _instances(facts: Mapping[str, Any]) -> list[str]:
    """Return the ids of a run's instances; none if its record is from another computer or an earlier version."""
    instances = facts.get("instances")
    return [str(value) for value in instances.values()] if isinstance(instances, dict) else []


def _is_terminated(facts: Mapping[str, Any], settings: Settings, present: Collection[str]) -> bool:
    """Return True if all instances of a run of this cluster are terminated."""
    now = {f"{section}.{option}": value for section, option, value, _ in to_rows(settings)}
    started = facts.get("settings")
    # Of another cluster the present instances are not known.
    is_same = isinstance(started, dict) and all(started.get(name) == now.get(name) for name in CLUSTER_SETTINGS)
    return is_same and bool(_instances(facts)) and not set(_instances(facts)) & set(present)


def copy_install_logs(log_folder: Path, folder: Path, hosts: Sequence[str]) -> None:
    """Copy the install logs of these hosts into a run's folder.

    :param folder: of the run's logs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for host in hosts:
        log = log_folder / f"{host}.install.log"
        # Missing if the host was installed from another computer.
        if log.exists():
            shutil.copyfile(log, folder / log.name)


@dataclass(frozen=True)
class PastRun:
    """One run of this computer.

    :param state: as when it was fetched: done, failed, timeout, cancelled, lost, running; or ``not fetched``.
    :param seconds: duration of its main tasks; None if unknown.
    :param cost_usd: for the job's own time on its hosts; None if unknown.
    :param metrics: the job's own, empty without any.
    :param metrics_host: the host that wrote them, if others wrote their own.
    :param is_fetched: True if its results were fetched; a run may be known to have ended without that.
    :param is_partial: True if not all of them were received.
    """

    run_id: str
    job: str
    state: str
    started_at: datetime | None
    seconds: float | None
    hosts: tuple[str, ...]
    cost_usd: Decimal | None
    folder: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)
    metrics_host: str = ""
    is_fetched: bool = False
    is_partial: bool = False


def past_runs(runs_folder: Path) -> list[PastRun]:
    """Return the runs that have a record in a folder, oldest first; makes no API call."""
    # Their ids begin with date and time.
    return [_past_run(folder) for folder in _folders(runs_folder, "")]


def _past_run(folder: Path) -> PastRun:
    # A user may edit these files, and earlier versions wrote fewer facts: what does not fit is unknown.
    facts = json_file.load(folder, FILE)
    timings, listed = facts.get("timings"), facts.get("hosts")
    hosts = tuple(map(str, listed)) if isinstance(listed, list) else ()
    metrics = results.read_metrics(folder, hosts)
    return PastRun(
        run_id=folder.name,
        job=str(facts.get("job", "")),
        state=str(facts.get("state") or NOT_FETCHED),
        started_at=_time(facts.get("started")),
        seconds=_number(timings.get("job")) if isinstance(timings, dict) else None,
        hosts=hosts,
        cost_usd=_amount(facts.get("cost_usd")),
        folder=folder,
        metrics=metrics.values,
        metrics_host=metrics.host,
        is_fetched=bool(facts.get("fetched")),
        is_partial=bool(facts.get("not_received")),
    )


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _amount(value: object) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    # No sum of dollars is longer, and 1e9999 could not be printed to the cent.
    return amount if amount.is_finite() and abs(amount) < 10**12 else None
