"""Random lives with SageMaker in virtual time: jobs, warm pools, endpoints, faults, crashes; nothing is left.

A life is drawn from its seed: verbs, failing calls, and a crash or Ctrl-C at a boundary of a call. At the end
TerminateAll runs until nothing fails any more; what then still bills, or was touched although it is another owner's,
is a violation, and so is anything that bills and has no entry in the journal. scripts/chaos --managed N lives them.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.sagemaker.training.record import TrainingJob
from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.requests import MODES, Fleet
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import Journal
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.services.managed import tuning
from orchestrator.services.managed.tuning import TuningChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.chaos.virtual_computer import SCRATCH, VirtualComputer
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.localcloud import colleague

CONFIG = """[cluster]
name = ml
[aws]
region = us-west-2
ssh_from = 203.0.113.7/32
[sagemaker]
{role}
keep_alive_minutes = {keep_alive_minutes}
[job]
run = {job}
"""
CALLS = (
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "StopTrainingJob",
    "UpdateTrainingJob",
    "ListTrainingJobs",
    "CreateModel",
    "CreateEndpointConfig",
    "CreateEndpoint",
    "DescribeEndpoint",
    "UpdateEndpoint",
    "DeleteEndpoint",
    "ListEndpoints",
    "ListTags",
    "CreateHyperParameterTuningJob",
    "StopHyperParameterTuningJob",
    "CreateTransformJob",
    "DescribeTransformJob",
    "StopTransformJob",
    "CreateSchedule",
    "DeleteSchedule",
    "RegisterScalableTarget",
    "PutScalingPolicy",
)
"""API calls that fail, or around which a life is interrupted."""

CODES = ("ThrottlingException", "InternalFailure", "ResourceLimitExceeded", "AccessDeniedException")
QUIET_S = 3600.0
"""Every fault is over by then."""

METRICS = "[metrics]\nloss = loss=([0-9.]+)\n"
DATA = "rows"


@dataclass
class Life:
    """One life while it is lived."""

    seed: int
    folder: Path
    cloud: InMemoryCloud
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    calls: int = 0
    is_armed: bool = True
    is_interrupted: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(f"managed/{self.seed}")
        job = write_job(self.folder / "line", f"multi = python train.py\n{METRICS}")
        config = self.folder / "config.ini"
        minutes = self.chance.choice((0, 0, 30))
        # Without a role in the config, SageMaker is asked only for what the journal names.
        arn = colleague.role(self.cloud)
        role = f"role = {arn}" if self.chance.random() < 0.3 else f"# {arn}"
        config.write_text(CONFIG.format(role=role, job=job, keep_alive_minutes=minutes))
        self.computer = VirtualComputer(
            self.cloud, self.folder / "home", config, random.Random(f"computer/{self.seed}")
        )
        write_run(self.folder / "home/runs", "line")
        self.interruption = (
            self.chance.choice(("crash", "crash", "ctrl-c", "")),
            self.chance.choice(("before", "after")),
            self.chance.choice(("", self.chance.choice(CALLS))),
            self.chance.randint(1, 100),
        )

    def live(self) -> list[str]:
        """Return what bills, of the user."""
        return [
            f"{item.kind} {item.name}"
            for item in self.cloud.live_managed()
            if item.tags.get("stratus:owner") != colleague.OWNER
        ]

    def foreign(self) -> list[str]:
        """Return what bills, of another owner."""
        return [
            f"{item.kind} {item.name}"
            for item in self.cloud.live_managed()
            if item.tags.get("stratus:owner") == colleague.OWNER
        ] + [name for name in self.cloud.schedules() if "theirs" in name]

    def execute(self) -> None:
        """Live the life, then end everything."""
        self.cloud.jobs.behavior = self._behavior
        colleague.create(self.cloud)
        self.cloud.models.is_healthy = lambda _: self.chance.random() < 0.8
        self._put_data()
        foreign = self.foreign()
        self.cloud.play(Scenario(self.seed, tuple(self._faults())))
        self.cloud.on_call_boundary = self._boundary
        session = self.computer.session()
        for _ in range(self.chance.randint(2, 5)):
            session = self._step(session, self.chance.choice(tuple(VERBS)))
        self.is_armed = False
        self._clean_up()
        if self.foreign() != foreign:
            self.violations.append(f"of another owner there were {foreign}, now {self.foreign()}")

    def _put_data(self) -> None:
        s3 = self.cloud.session().client("s3", region_name="us-west-2")
        s3.create_bucket(Bucket=DATA, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket=DATA, Key="rows/a.csv", Body=b"1\n2\n")

    def _behavior(self, job: TrainingJob) -> tuple[float, int]:
        if "theirs" in job.name:
            # Longer than any life.
            return 20 * 86400.0, 0
        chance = random.Random(f"{self.seed}/{job.name}")
        return chance.choice((30.0, 4000.0, 20_000.0)), chance.choice((0, 0, 1))

    def _faults(self) -> list[Fault]:
        faults = []
        for _ in range(self.chance.choice((0, 0, 1, 2, 3))):
            action, times = self.chance.choice(CALLS), self.chance.choice((1, 1, 2, 6))
            if self.chance.random() < 0.5:
                faults.append(make_fault("dropped", action=action, applied=self.chance.random() < 0.6, times=times))
            else:
                code, applied = self.chance.choice(CODES), self.chance.random() < 0.3
                faults.append(
                    make_fault("error", action=action, code=code, message="No.", applied=applied, times=times)
                )
        return faults

    def _step(self, session: Session, verb: str) -> Session:
        """Execute a verb; after a crash return a new session."""
        self.trace.append(f"{self.cloud.clock.now():.1f} {verb}")
        try:
            VERBS[verb](self, session)
        except StratusError as error:
            self.trace.append(f"  {error.exit_code}: {error}")
        except KeyboardInterrupt:
            self.trace.append("  interrupted")
        except ClientCrash:
            self.trace.append("  crashed")
            self.computer.clients.clear()
            return self.computer.session()
        except Exception as error:
            self.violations.append(f"{verb}: a bug: {error!r}")
            self.trace.append("".join(traceback.format_exception(error)))
        return session

    def _train(self, session: Session) -> None:
        count, is_spot = self.chance.choice((1, 2)), self.chance.random() < 0.3
        session.sagemaker.start(session.sagemaker.plan(TrainingChoices(count=count, is_spot=is_spot)))

    def _tune(self, session: Session) -> None:
        ranges = "lr=0.1,0.2"
        values = tuning.planned_values(ranges)
        definition = session.sagemaker.plan(TrainingChoices(hyperparameters=values))
        plan = session.tuning.plan(definition, TuningChoices(ranges, "minimize loss", 3, 2, "Random"))
        session.tuning.start(plan)

    def _deploy(self, session: Session) -> None:
        name, fleet = f"{self.chance.randint(1, 3)}", Fleet(self.chance.choice(MODES))
        hours = self.chance.choice((0.0, 0.0, 1.0, 30.0))
        choices = DeployChoices(RUN_ID[-3:], self.folder / "line", name, fleet, hours)
        session.endpoints.deploy(session.endpoints.plan(choices))

    def _update(self, session: Session) -> None:
        for endpoint in session.endpoints.list()[:1]:
            fleet = Fleet(self.chance.choice((endpoint.mode, MODES[0])), count=self.chance.choice((1, 2)))
            choices = DeployChoices(RUN_ID[-3:], self.folder / "line", fleet=fleet)
            session.endpoints.update(session.endpoints.plan_update(endpoint.name, choices))

    def _scale(self, session: Session) -> None:
        for endpoint in session.endpoints.list()[:1]:
            session.endpoints.scale(endpoint.name, Scaling(self.chance.choice((0, 1)), 3, 5.0))

    def _transform(self, session: Session) -> None:
        choices = TransformChoices(f"s3://{DATA}/rows", RUN_ID[-3:], self.folder / "line")
        session.transforms.run(session.transforms.plan(choices))

    def _delete(self, session: Session) -> None:
        for endpoint in session.endpoints.list()[:1]:
            session.endpoints.delete(endpoint.name)

    def _status(self, session: Session) -> None:
        managed = session.cluster.status().managed
        shown = {resource.name for resource in managed.resources}
        missing = [name for name in self.live() if name.rpartition(" ")[2] not in shown]
        if missing and not managed.problem:
            self.violations.append(f"Status does not show {missing}")

    def _terminate(self, session: Session) -> None:
        report = session.cluster.terminate()
        if not report.remaining and (left := self.live()):
            self.violations.append(f"TerminateAll reports nothing left, and there is {left}")

    def _wait(self, _: Session) -> None:
        self.cloud.clock.sleep(self.chance.choice((10.0, 700.0, 8000.0)))

    def _boundary(self, phase: str, action: str, _: int) -> None:
        if phase == "before":
            self.calls += 1
        self._check_journal()
        kind, at, wanted, number = self.interruption
        if not self.is_armed or not kind or at != phase or wanted not in ("", action):
            return
        if not wanted and self.calls != number:
            return
        self.is_armed, self.is_interrupted = False, True
        self.trace.append(f"  {kind} {phase} {action}")
        if kind == "crash":
            raise ClientCrash
        signal.raise_signal(signal.SIGINT)

    def _check_journal(self) -> None:
        lines = self.live()
        if not lines:
            return
        names = {entry.facts.get("name") for entry in Journal(self.computer.home, REAL_CLOCK).entries()}
        tuned = tuple(f"{name}-" for name in names)
        for line in lines:
            name = line.rpartition(" ")[2]
            if name not in names and not name.startswith(tuned) and f"{line}: no journal entry" not in self.violations:
                self.violations.append(f"{line}: no journal entry")

    def _clean_up(self) -> None:
        for _ in range(3):
            self.computer.clients.clear()
            report = None
            try:
                report = self.computer.session().cluster.terminate()
            except StratusError as error:
                self.trace.append(f"  end: {error}")
            if report is not None and not report.remaining and not self.live():
                if schedules := [name for name in self.cloud.schedules() if "theirs" not in name]:
                    self.violations.append(f"schedules left: {schedules}")
                return
            self.trace.append(f"  end: remaining {report.remaining if report else '?'}, live {self.live()}")
            self.cloud.clock.sleep(QUIET_S)
            self.cloud.play(Scenario(self.seed, ()))
        self.violations.append(f"left behind: {self.live()}; TerminateAll: {report.remaining if report else '?'}")


VERBS: Mapping[str, Callable[[Life, Session], None]] = {
    "train": Life._train,
    "train again": Life._train,
    "deploy": Life._deploy,
    "deploy again": Life._deploy,
    "tune": Life._tune,
    "transform": Life._transform,
    "update": Life._update,
    "scale": Life._scale,
    "delete": Life._delete,
    "status": Life._status,
    "terminate": Life._terminate,
    "wait": Life._wait,
}


def live(seed: int) -> Life:
    """Live the life of a seed."""
    folder = Path(tempfile.mkdtemp(prefix="managed-", dir=SCRATCH))
    try:
        with InMemoryCloud(seed) as cloud:
            life = Life(seed, folder, cloud)
            life.execute()
            cloud.on_call_boundary = lambda *_: None
            return life
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class LifeResult:
    """Outcome of one life."""

    seed: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    calls: int
    is_interrupted: bool


def _result(seed: int) -> LifeResult:
    life = live(seed)
    return LifeResult(seed, tuple(life.violations), tuple(life.trace), life.calls, life.is_interrupted)


def run_and_print(seeds: range, at_once: int) -> bool:
    """Live many lives in several processes and print what went wrong, and totals; True if any life has a violation."""
    calls = interrupted = failed = 0
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        for result in pool.imap_unordered(_result, seeds):
            calls += result.calls
            interrupted += result.is_interrupted
            failed += bool(result.violations)
            if result.violations:
                lines = [f"seed {result.seed}: {'; '.join(result.violations)}", *result.trace]
                print("\n".join(lines), flush=True)
    print(f"{len(seeds)} lives with SageMaker, {calls} calls, {interrupted} interrupted; {failed} failed", flush=True)
    return bool(failed)
