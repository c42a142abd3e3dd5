"""Random lives with SageMaker: jobs, warm pools, endpoints. scripts/chaos --managed N lives them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from localcloud.sagemaker.training.record import TrainingJob
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.requests import MODES, Fleet
from orchestrator.core.journal import JournalEntry
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.services.managed import tuning
from orchestrator.services.managed.tuning import TuningChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.chaos.lives import Life
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
CODES = ("ThrottlingException", "InternalFailure", "ResourceLimitExceeded", "AccessDeniedException")
METRICS = "[metrics]\nloss = loss=([0-9.]+)\n"
DATA = "rows"


class ManagedLife(Life):
    """One life with SageMaker while it is lived."""

    name = "managed"
    title = "with SageMaker"
    actions = CALLS
    codes = CODES

    def config(self) -> str:
        """Return the settings; some name a role."""
        job = write_job(self.folder / "line", f"multi = python train.py\n{METRICS}")
        write_run(self.folder / "home/runs", "line")
        minutes = self.chance.choice((0, 0, 30))
        # Without a role in the config, SageMaker is asked only for what the journal names.
        arn = colleague.role(self.cloud)
        role = f"role = {arn}" if self.chance.random() < 0.3 else f"# {arn}"
        return CONFIG.format(role=role, job=job, keep_alive_minutes=minutes)

    @property
    def verbs(self) -> Mapping[str, Callable[[Session], None]]:
        """What the user does."""
        return {
            "train": self._train,
            "train again": self._train,
            "deploy": self._deploy,
            "deploy again": self._deploy,
            "tune": self._tune,
            "transform": self._transform,
            "update": self._update,
            "scale": self._scale,
            "delete": self._delete,
            "status": self._status,
            "terminate": self._terminate,
            "wait": self.wait,
        }

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

    def prepare(self) -> None:
        """Create a colleague's resources, and data."""
        self.cloud.jobs.behavior = self._behavior
        colleague.create(self.cloud)
        self.cloud.models.is_healthy = lambda _: self.chance.random() < 0.8
        self._put_data()

    def is_recorded(self, line: str, entries: Sequence[JournalEntry]) -> bool:
        """Return True if the journal has its name, or that of the tuning job that it is of."""
        name = line.rpartition(" ")[2]
        names = {entry.facts.get("name") for entry in entries}
        return name in names or name.startswith(tuple(f"{known}-" for known in names))

    def clean_up(self) -> None:
        """End everything; schedules of endpoints end with it."""
        super().clean_up()
        if schedules := [name for name in self.cloud.schedules() if "theirs" not in name]:
            self.violations.append(f"schedules left: {schedules}")

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
