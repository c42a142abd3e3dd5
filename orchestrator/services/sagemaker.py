"""Use cases on SageMaker: plan and start a training job of any job folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from orchestrator.aws.disks.file_systems import SharedRecord
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import (
    artifacts,
    logs,
    quotas,
    registry,
    requests,
    roles,
    shared_folders,
    training,
    uses,
)
from orchestrator.aws.sagemaker import training_request as api
from orchestrator.aws.sagemaker.shared_folders import Network
from orchestrator.aws.sagemaker.training_request import Channel, TrainingRequest
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.config.access import left_out_warning
from orchestrator.core import cost
from orchestrator.core.errors import CloudRefused, NotReady, StratusError, UsageError
from orchestrator.core.events import Event
from orchestrator.install import local_image, training_code, upload
from orchestrator.jobs import build, record
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.managed import options as managed_options
from orchestrator.jobs.managed import records, time_limit
from orchestrator.jobs.runs import RunHandle
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.jobs.spec import JobSpec
from orchestrator.jobs.storage.data_items import DataItem

NO_BUCKET = "NoSuchBucket"
MAX_INSTANCES = 1000
"""Of a training job, as of [sagemaker] training_instances; AWS's quotas are far below."""


@dataclass(frozen=True)
class TrainingChoices:
    """Choices for one training job; None or empty: as in the settings."""

    job: JobSource | None = None
    count: int | None = None
    instance_type: str = ""
    is_spot: bool | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """A training job before it is created: what, where, and its price.

    :param usd_per_hour: of all instances, on demand; None if unknown.
    :param price_source: where the price is from.
    :param max_cost_usd: until its limit of time; None if the price is unknown.
    :param creates_bucket: True if its bucket does not exist yet.
    :param own_hyperparameters: name -> value, of the job itself.
    """

    run_id: str
    request: TrainingRequest
    job: JobSpec
    layout: JobPlan
    local_data: Mapping[str, DataItem]
    links: Mapping[str, str]
    usd_per_hour: Decimal | None
    price_source: str
    bucket: str
    creates_bucket: bool
    own_hyperparameters: Mapping[str, str]

    @property
    def max_cost_usd(self) -> Decimal | None:
        """USD until its limit of time; less on spot instances."""
        return cost.cost_for(self.usd_per_hour, self.request.max_runtime_s)

    @property
    def keep_usd(self) -> Decimal | None:
        """USD of keeping its instances for another job, at most."""
        return cost.cost_for(self.usd_per_hour, self.request.keep_alive_s)


class SageMakerService:
    """Training jobs of one cluster's name and owner.

    :param load_job: reads a job; of the settings when None.
    """

    def __init__(
        self,
        context: ClusterContext,
        log: ManagedLog,
        runs_folder: Path,
        load_job: Callable[[JobSource | None], JobSpec],
    ) -> None:
        self.context = context
        self.clients = context.clients
        self.log = log
        self.runs_folder = runs_folder
        self.load_job = load_job

    # -- plan

    def plan(self, choices: TrainingChoices) -> TrainingPlan:
        """Look up and check what a training job needs, and its price; nothing is changed.

        :raises StratusError: the job cannot run there.
        """
        settings = self.context.settings.sagemaker
        own_job = self.load_job(choices.job)
        job = _with_values(own_job, choices.hyperparameters)
        count = choices.count or settings.training_instances
        if count > MAX_INSTANCES:
            raise UsageError(f"count = {count}: at most {MAX_INSTANCES}", where="TrainOnSageMaker")
        instance_type = choices.instance_type or settings.training_instance_type
        uses.check_instance_type(self.clients, instance_type, Use.TRAINING)
        layout = self._layout(job, count)
        image = self._image(job, instance_type)
        prices = self.context.managed_prices
        is_spot = settings.training_spot if choices.is_spot is None else choices.is_spot
        bucket = settings.sagemaker_bucket or artifacts.default_bucket(
            self.context.identity.account, self.clients.region
        )
        keep_alive_s = settings.keep_alive_minutes * 60
        problem, limits, role_arn, *_ = self.clients.in_parallel(
            partial(artifacts.bucket_problem, self.clients, bucket),
            partial(quotas.query_training, self.clients, instance_type, count, spot=is_spot, keeps=keep_alive_s > 0),
            partial(roles.execution_role_arn, self.clients, settings.role, self.context.cluster_id),
            partial(prices.refresh, [instance_type], Use.TRAINING),
            partial(registry.check_image, self.clients, image, local_image.missing_fix(job)),
            partial(logs.client, self.clients),
        )
        self._check_limits(bucket, problem, limits)
        price = prices.per_hour(instance_type, Use.TRAINING)
        usd_per_hour = price.usd * count if price else None
        records = shared_folders.find_all(self.clients, [item.file_system[0] for item in job.data])
        channels, links, local_data = self._channels(job, count, f"s3://{bucket}/{self._prefix}", records)
        subnets, groups = _listed(settings.training_subnets), _listed(settings.training_security_groups)
        own = self.context.cluster_id
        network = shared_folders.network(self.clients, [*records.values()], own, Network(subnets, groups))
        run_url = f"s3://{bucket}/{self._prefix}/{layout.run_id}"
        limit_s = time_limit.limit_s(
            self.context.settings.cluster, usd_per_hour, max_hours=job.options.max_hours, kept_s=keep_alive_s
        )
        max_runtime_s = max(1, min(int(limit_s), api.MAX_RUNTIME_S))
        request = TrainingRequest(
            name=training.name_prefix(self.context.cluster_id.cluster) + layout.run_id,
            role_arn=role_arn,
            image=image,
            channels=[Channel(api.CODE_CHANNEL, f"{run_url}/code/"), *channels],
            output_url=run_url,
            instance_type=instance_type,
            count=count,
            volume_gib=settings.volume_gib,
            max_runtime_s=max_runtime_s,
            max_wait_s=round(settings.spot_wait_hours * 3600) if is_spot else 0,
            keep_alive_s=keep_alive_s,
            hyperparameters=job.training.hyperparameters,
            metrics=job.training.metrics,
            checkpoint_url=f"{run_url}/checkpoints" if job.training_checkpoints else "",
            subnets=network.subnets,
            security_groups=network.security_groups,
            tags=self._tags(layout.run_id),
        )
        requests.check(self.clients, "CreateTrainingJob", request.as_dict())
        return TrainingPlan(
            layout.run_id,
            request,
            job,
            layout,
            local_data,
            links,
            usd_per_hour,
            price.source if price else "",
            bucket,
            creates_bucket=problem == NO_BUCKET,
            own_hyperparameters=own_job.training.hyperparameters,
        )

    @property
    def _prefix(self) -> str:
        return f"stratus/{self.context.cluster_id.cluster}"

    def _tags(self, run_id: str) -> list[Mapping[str, str]]:
        own = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in self.context.cluster_id.tags]
        return [*own, {"Key": "stratus:run", "Value": run_id}]

    def _layout(self, job: JobSpec, count: int) -> JobPlan:
        now, contained = self.context.clock.now(), training_code.in_container(job)
        is_multi = count > 1 or not job.options.single
        if is_multi and job.resources.min_hosts:
            raise UsageError(
                f"min_hosts = {job.resources.min_hosts}: SageMaker ends a job that loses an instance",
                where=f"{job.folder} [resources]",
                fix="min_hosts = 0, and checkpoints under [training] in job.ini, from which a spot job continues",
            )
        hosts = training_code.placeholder_hosts(count)
        run_id = build.new_run_id(now)
        return build.build(contained, hosts, run_id=run_id, multi=is_multi, now=now)

    def _image(self, job: JobSpec, instance_type: str) -> str:
        region, settings = self.clients.region, self.context.settings.sagemaker
        name = local_image.managed_name(job, self.context.settings.install)
        if pushed := registry.pushed_image(self.context.journal, self.context.cluster_id, name):
            return pushed
        image = job.options.image if job.runtime == "docker" else settings.training_image
        if job.runtime == "docker" and not image:
            image = f"{self.context.identity.account}.dkr.ecr.{region}.amazonaws.com/{name}"
        image = image or api.default_image(region, instance_type)
        api.check_image(image, region)
        return image

    def _check_limits(self, bucket: str, problem: str, limits: Sequence[quotas.SageMakerQuota]) -> None:
        problems: list[StratusError] = []
        # A refusal is also the answer for a bucket that may be written to, but not listed: the upload decides.
        if problem not in ("", NO_BUCKET, "AccessDenied"):
            problems.append(CloudRefused("the bucket cannot be used", where=bucket, code=problem))
        for quota in limits:
            try:
                quota.check(self.clients.region)
            except CloudRefused as error:
                problems.append(error)
        NotReady.raise_if_any(problems)

    # -- data

    def _channels(
        self, job: JobSpec, count: int, base_url: str, records: Mapping[str, SharedRecord]
    ) -> tuple[list[Channel], dict[str, str], dict[str, DataItem]]:
        """Return channels, channel -> name in the working directory, and URL -> local data to upload.

        :param records: file systems by their ids.
        """
        channels: list[Channel] = []
        local_data: dict[str, DataItem] = {}
        for number, item in enumerate(job.data):
            name = re.sub(r"[^A-Za-z0-9._-]", "-", item.name)[:48] + f"-{number}"
            if item.is_file_system:
                channels.append(_shared_channel(job, item, name, records))
                continue
            if item.is_s3:
                url = self._s3_url(item)
            else:
                url = f"{base_url}/data/{job.name}/{job.data_id(item)}-{_data_upload(job, item).digest[:16]}/"
                local_data[url] = item
            if item.mode == "stream":
                fix = "write mount, which is FastFile there"
                raise UsageError(f"{item.name}: a list of URLs is for VMs, not for SageMaker", fix=fix)
            options = job.training.options
            input_mode = "FastFile" if item.mode == "mount" else options.input_mode
            channel = Channel(name, url, input_mode, is_sharded=item.is_sharded or options.distribution == "sharded")
            if channel.is_sharded:
                self._check_shards(job, item, channel, count)
            channels.append(channel)
        links = {channel.name: item.name for channel, item in zip(channels, job.data, strict=True)}
        return channels, links, local_data

    def _s3_url(self, item: DataItem) -> str:
        _, key = artifacts.split_url(item.source)
        keys = artifacts.first_keys(self.clients, item.source, 1)
        if not keys:
            raise UsageError("there are no objects with this prefix", where=item.source, fix="correct data in job.ini")
        # A prefix is a beginning of text for SageMaker: data would match data2 as well.
        return item.source if keys == [key] else item.source.rstrip("/") + "/"

    def _check_shards(self, job: JobSpec, item: DataItem, channel: Channel, count: int) -> None:
        if item.is_s3:
            objects = len(artifacts.first_keys(self.clients, channel.url, count))
        else:
            objects = len(_data_upload(job, item).files)
        if objects < count:
            raise UsageError(
                f"distribution = sharded leaves some instances without data: {objects} objects for {count}",
                where=item.source,
                fix="use fewer instances, or distribution = replicated in job.ini",
            )

    # -- start

    def upload_inputs(self, plan: TrainingPlan) -> None:
        """Upload what a training job needs: its data, unless it is there, and its code.

        :raises StratusError: S3 refused.
        """
        if plan.creates_bucket:
            artifacts.create_bucket(self.clients, plan.bucket)
        for url, item in plan.local_data.items():
            self._upload_data(url, _data_upload(plan.job, item))
        self._upload_code(plan)

    def start(self, plan: TrainingPlan) -> RunHandle:
        """Upload code and data, and create the training job; it runs without this computer.

        :raises StratusError: SageMaker refused; nothing is billed then.
        """
        self.upload_inputs(plan)
        self._create(plan)
        folder = self.runs_folder / plan.run_id
        now, request = self.context.clock.now(), plan.request
        record.start_record(folder, plan.layout, self.context.settings, {}, now, {})
        records.note(
            folder,
            name=request.name,
            instance_type=request.instance_type,
            count=request.count,
            image=request.image,
            spot=bool(request.max_wait_s),
            usd_per_hour=cost.decimals(plan.usd_per_hour),
            output=request.output_url,
        )
        return RunHandle(plan.run_id, plan.job.name, plan.layout.multi, plan.layout.roles, False, folder)

    def _upload_data(self, url: str, data: upload.Upload) -> None:
        self._report_left_out(data.left_out)
        # Beside the prefix, so that no container gets it.
        mark = url.rstrip("/") + ".complete"
        if artifacts.first_keys(self.clients, mark, 1):
            return
        self._report(f"uploading {len(data.files)} files to {url}")
        artifacts.upload(self.clients, url, {file.name: file.path for file in data.files})
        artifacts.upload(self.clients, mark.rpartition("/")[0], {mark.rpartition("/")[2]: b""})

    def _upload_code(self, plan: TrainingPlan) -> None:
        code = training_code.pack(plan.job, plan.layout, plan.links, self.context.settings.install)
        self._report_left_out(code.left_out)
        artifacts.upload(self.clients, plan.request.channels[0].url, code.files)

    def _create(self, plan: TrainingPlan) -> None:
        request = plan.request
        entry = self.log.record_intent(
            "training", request.name, run=plan.run_id, type=request.instance_type, count=request.count
        )
        self.log.create(
            entry,
            lambda: roles.when_assumable(self.context.clock, lambda: training.create(self.clients, request.as_dict())),
            lambda: job.arn if (job := training.find(self.clients, request.name)) else "",
        )

    def _report_left_out(self, names: Sequence[str]) -> None:
        if names:
            self.context.on_event(Event("", "code", "warning", text=left_out_warning(names)))

    def _report(self, text: str) -> None:
        self.context.on_event(Event("", "training", "progress", text=text))


def _data_upload(job: JobSpec, item: DataItem) -> upload.Upload:
    source = job.folder / item.source
    return upload.scan("data", source, "", allowed=job.allowed_files, withheld=job.withheld_files)


def _shared_channel(job: JobSpec, item: DataItem, name: str, records: Mapping[str, SharedRecord]) -> Channel:
    if job.training.options.distribution == "sharded":
        problem = "distribution = sharded is for data on S3: every instance sees all of a file system"
        raise UsageError(problem, where=item.source, fix="distribution = replicated in job.ini")
    identifier, directory = item.file_system
    return Channel(name, "", folder=shared_folders.folder(records[identifier], directory))


def _with_values(job: JobSpec, chosen: Mapping[str, str]) -> JobSpec:
    for name, value in chosen.items():
        if problem := managed_options.hyperparameter_problem(name, value):
            raise UsageError(f"{name} = {value!r} {problem}", where="hyperparameters")
    values = {**job.training.hyperparameters, **chosen}
    return replace(job, training=replace(job.training, hyperparameters=values))


def _listed(names: str) -> list[str]:
    return names.replace(",", " ").split()
