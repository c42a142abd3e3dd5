"""Use cases on baked images: make one of an installed VM, list them, delete them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import images as machine_images
from orchestrator.aws.ec2 import instance_types
from orchestrator.aws.machines import baked_images
from orchestrator.aws.machines.baked_images import BakedImage, Contents
from orchestrator.aws.managed.baked_images import JOURNAL_KIND, BakedImages
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.managed.sweep import LOOKUP_ATTEMPTS, LOOKUP_TIMEOUT_S, ManagedService
from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import file_lock
from orchestrator.core.errors import CloudRefused, StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import image_preparation

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.core.host import Host
    from orchestrator.hosts.image_preparation import Preparation
    from orchestrator.install.job_installs import JobInstalls
    from orchestrator.jobs.spec import JobSpec

AVAILABLE_TIMEOUT_S = 3600.0
"""AWS states no time; an image of a full disk of 75 GiB takes about 15 minutes."""

_REFUSALS = frozenset(("UnauthorizedOperation", "IncorrectState", "ResourceLimitExceeded"))
"""Codes with which no image was made."""


@dataclass(frozen=True)
class InstallState:
    """The job of the settings, and its environment on hosts.

    :param load_job: reads the job.
    :param installs: of that job on hosts.
    """

    load_job: Callable[[], JobSpec]
    installs: JobInstalls


@dataclass(frozen=True)
class BakePlan:
    """An image to be made.

    :param host: that it is made of.
    :param size_gib: of its disk.
    :param max_usd_per_month: of its snapshot; None if unknown.
    :param warning: why launches will not find it; empty if they will.
    """

    host: Host
    instance: Instance
    contents: Contents
    size_gib: int
    max_usd_per_month: Decimal | None
    warning: str = ""


@dataclass(frozen=True)
class BakeReport:
    """An image that was made.

    :param state: ``available``, or ``pending`` if AWS takes longer.
    :param seconds: until then.
    """

    id: str
    name: str
    host: str
    job: str
    state: str
    size_gib: int
    max_usd_per_month: Decimal | None
    seconds: float


@dataclass(frozen=True)
class ListedImage:
    """A baked image in a list.

    :param id: ``ami-...``, or ``snap-...`` of a snapshot that a deleted image left behind.
    :param use: ``next launch``, ``stale`` (another install of the same job, or another base), ``other job``, or empty
        while that is unknown.
    :param base_id: image that its VM was launched from.
    :param max_usd_per_month: None if unknown.
    """

    id: str
    name: str
    state: str
    use: str
    job: str
    base_id: str
    base_name: str
    size_gib: int
    max_usd_per_month: Decimal | None
    created_at: datetime | None
    snapshot_ids: tuple[str, ...]


@dataclass(frozen=True)
class ImageList:
    """All baked images of the cluster."""

    images: tuple[ListedImage, ...]


@dataclass(frozen=True)
class ImageDeletion:
    """Outcome of deleting one image.

    :param error: why it is not known to be gone; empty if it is.
    """

    id: str
    error: str = ""


@dataclass(frozen=True)
class ImageDeletions:
    """Outcome of deleting images."""

    deletions: tuple[ImageDeletion, ...]

    @property
    def remaining(self) -> tuple[str, ...]:
        """Lines on what is left."""
        return tuple(f"image {item.id}: {item.error}" for item in self.deletions if item.error)


NEXT_LAUNCH, STALE, OTHER_JOB = "next launch", "stale", "other job"


def managed_service(context: ClusterContext) -> ManagedService:
    """Return the images of a cluster, as its status lists them."""
    log = ManagedLog(context.journal, lambda: context.cluster_id, context.clock, (JOURNAL_KIND,))
    clients = context.clients.limited(attempts=LOOKUP_ATTEMPTS, timeout_s=LOOKUP_TIMEOUT_S)
    return ManagedService("EC2 images", [BakedImages(clients, lambda: context.cluster_id)], log)


class BakedImageService:
    """Baked images of one cluster."""

    def __init__(self, inventory: Inventory, install: InstallState) -> None:
        self.inventory = inventory
        self.log = managed_service(inventory.context).log
        self.context = inventory.context
        self.install = install

    def plan(self, name: str = "") -> BakePlan:
        """Return the image to be made of a host; the host must have the job's environment.

        :param name: of the host; the first when empty.
        :raises UsageError: the job is not installed there, or the disk of the VM is unknown.
        """
        host = self.inventory.hosts([name] if name else [])[0]
        instance = next(item for item in self.inventory.instances() if item.name == host.name)
        job = self.install.load_job()
        if missing := self.install.installs.missing_environment(job, host):
            raise UsageError(
                f"no image was made: {', '.join(missing)} of {job.name} not installed",
                where=host.name,
                fix=NextStep("InstallDeps") + ", then " + NextStep("BakeImage", host.name),
            )
        size = instance.disk.size if instance.disk else 0
        contents = self._contents(instance, job)
        per_month = baked_images.max_usd_per_month(size, self.context.clients.region) if size else None
        return BakePlan(host, instance, contents, size, per_month, self._warning(contents))

    def check(self, plan: BakePlan, *, remove_runs: bool = False) -> None:
        """Check that an image can be made of a host as it is now; changes nothing.

        :raises UsageError: something works on the host, or it has runs that are to stay.
        """
        image_preparation.check(self.context.ssh, plan.host, owner=self._computer(), remove_runs=remove_runs)

    def bake(self, plan: BakePlan, *, remove_runs: bool = False) -> BakeReport:
        """Make an image, and wait until AWS has it.

        :param remove_runs: delete ended runs on the host, for good: an image has none.
        :raises UsageError: something works on the host, or it has runs.
        """
        context = self.context
        clients, clock, own = context.clients, context.clock, context.cluster_id
        started = clock.monotonic()
        name = f"{own.resource_name}-{plan.contents.digest[:8]}-{clock.now().astimezone(UTC):%Y%m%d-%H%M%S}"
        self._report("taking keys, credentials, code and data off the disk", plan.host.name)
        with self._prepared(plan.host, remove_runs=remove_runs) as preparation:
            entry = self.log.record_intent(JOURNAL_KIND, name)
            image_id = self._create(plan, name)
            self.log.record_created(entry, image_id)
        if preparation.has_ended_early:
            raise self._dropped(image_id, plan.host)
        self._report(f"{image_id}: AWS copies the disk", plan.host.name)
        state = baked_images.wait_available(clients, own, image_id, AVAILABLE_TIMEOUT_S)
        seconds = clock.monotonic() - started
        return BakeReport(
            image_id, name, plan.host.name, plan.contents.job, state, plan.size_gib, plan.max_usd_per_month, seconds
        )

    def list_images(self) -> ImageList:
        """Return all baked images, the newest first, and snapshots that a deleted one left behind."""
        return ImageList(tuple(self._listed(image, use) for image, use in self._with_uses()))

    def delete(self, names: Sequence[str] = (), *, stale: bool = False) -> ImageDeletions:
        """Delete images with their snapshots.

        :param names: ids or names of images.
        :param stale: those that the next launch of their job would not use.
        :raises UsageError: there is no such image.
        """
        images = self._with_uses()
        known = {key: image for image, _ in images for key in (image.id, image.name) if key}
        for name in names:
            if name not in known:
                raise UsageError(f"there is no baked image {name!r}", fix=NextStep("Images") + "  lists them")
        chosen = {known[name].id: known[name] for name in names}
        if stale:
            chosen |= {image.id: image for image, use in images if use == STALE}
        return ImageDeletions(tuple(self._delete(image) for image in chosen.values()))

    def _with_uses(self) -> list[tuple[BakedImage, str]]:
        """Return all images, each with its use."""
        context = self.context
        images = baked_images.find(context.clients, context.cluster_id)
        digest, job = self._current()
        base = self._base_id() if images else ""
        uses: list[str] = []
        for image in images:
            use = _use(image, digest, job, base)
            # Of several, launches take the newest.
            uses.append(STALE if use == NEXT_LAUNCH and NEXT_LAUNCH in uses else use)
        return list(zip(images, uses, strict=True))

    def _listed(self, image: BakedImage, use: str) -> ListedImage:
        contents = image.contents
        return ListedImage(
            id=image.id,
            name=image.name,
            state=image.state,
            use=use,
            job=contents.job,
            base_id=contents.base_id,
            base_name=contents.base_name,
            size_gib=image.size_gib,
            max_usd_per_month=image.max_usd_per_month(self.context.clients.region),
            created_at=image.created_at,
            snapshot_ids=image.snapshot_ids,
        )

    def _delete(self, image: BakedImage) -> ImageDeletion:
        try:
            baked_images.delete(self.context.clients, image)
        except StratusError as error:
            return ImageDeletion(image.id, first_line(error))
        self.log.record_ended_name(image.name)
        return ImageDeletion(image.id)

    @contextmanager
    def _prepared(self, host: Host, *, remove_runs: bool) -> Iterator[Preparation]:
        """Prepare a host, for one shell of this computer at a time."""
        context, own = self.context, self.context.cluster_id
        name = f"{own.resource_name}-{own.region}-{host.name}.image.lock"
        with (
            file_lock.hold(context.home / "locks" / name, f"making an image of {host.name}"),
            image_preparation.prepared(
                context.ssh, host, owner=self._computer(), remove_runs=remove_runs, on_event=context.on_event
            ) as preparation,
        ):
            yield preparation

    def _computer(self) -> str:
        """Return what tells this computer from others."""
        return sha256(f"{socket.gethostname()}\0{self.context.home.resolve()}".encode()).hexdigest()[:16]

    def _dropped(self, image_id: str, host: Host) -> StratusError:
        """Delete an image that may have secrets, and return the error."""
        images = baked_images.find_images(self.context.clients, self.context.cluster_id)
        refusals = [refusal for image in images if image.id == image_id if (refusal := self._delete(image).error)]
        outcome = f"{image_id} was not deleted: {refusals[0]}" if refusals else f"{image_id} was deleted"
        fix = NextStep("DeleteImages", image_id) if refusals else NextStep("BakeImage", host.name)
        message = f"the VM had its keys back before its image was made, which may have them: {outcome}"
        return StratusError(message, where=host.name, fix=fix)

    def _create(self, plan: BakePlan, name: str) -> str:
        clients, own = self.context.clients, self.context.cluster_id
        try:
            return baked_images.create(clients, plan.instance, name, plan.contents, own)
        except StratusError as error:
            if isinstance(error, CloudRefused) and error.code in _REFUSALS:
                raise
            # Names are unique: an image of this one is the answer that was lost.
            if image_id := baked_images.find_by_name(clients, own, name):
                return image_id
            raise

    def _contents(self, instance: Instance, job: JobSpec) -> Contents:
        images = baked_images.find_images(self.context.clients, self.context.cluster_id)
        source = next((image.contents for image in images if image.id == instance.image_id), None)
        contents = Contents(
            digest=self.install.installs.environment_digest(job),
            job=job.name,
            base_id=instance.image_id,
            base_name=self.context.settings.cluster.image,
            user=instance.user,
        )
        # An image of a VM that was itself launched from a baked one has the same base.
        return replace(contents, base_id=source.base_id, base_name=source.base_name) if source else contents

    def _warning(self, contents: Contents) -> str:
        base_id = self._base_id()
        if base_id in ("", contents.base_id):
            return ""
        name = self.context.settings.cluster.image
        return f"launches will not use it: {name} is {base_id} now, and this VM has {contents.base_id}"

    def _base_id(self) -> str:
        """Return the id of the image in the settings; empty if it cannot be looked up."""
        cluster = self.context.settings.cluster
        architecture = instance_types.guess_architecture(cluster.instance_type)
        try:
            return machine_images.find(self.context.clients, cluster.image, architecture=architecture).id
        except StratusError:
            return ""

    def _current(self) -> tuple[str, str]:
        """Return digest and name of the job in the settings; empty if it cannot be read."""
        try:
            job = self.install.load_job()
            return self.install.installs.environment_digest(job), job.name
        except (StratusError, OSError):
            return "", ""

    def _report(self, text: str, host: str) -> None:
        self.context.on_event(Event(host, "bake", "progress", text=text))


def _use(image: BakedImage, digest: str, job: str, base: str) -> str:
    if image.state == baked_images.LEFT_BEHIND:
        return STALE
    if not digest or not base:
        return ""
    if image.contents.job != job:
        return OTHER_JOB
    return NEXT_LAUNCH if (image.contents.digest, image.contents.base_id) == (digest, base) else STALE
