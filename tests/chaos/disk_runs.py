"""Random lives with disks, images, placement groups, reservations and roles. scripts/chaos --disks N lives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from localcloud.scenarios.scenario import Scenario
from localcloud.simulation.disks import LiveDisk
from orchestrator.aws.disks import file_systems, volumes
from orchestrator.aws.machines import placement_groups
from orchestrator.aws.machines.baked_images import Contents
from orchestrator.core.journal import JournalEntry
from orchestrator.core.next_step import advice_of
from orchestrator.services.machines.baked_images import BakePlan
from orchestrator.session import Session
from tests.chaos import invariants
from tests.chaos.invariants import TAG_RUN, InvariantMonitor
from tests.chaos.lives import Life
from tests.support.jobs.served_job import write_job
from tests.support.localcloud import colleague

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "us-west-2"
CONFIG = """[cluster]
name = ml
[aws]
region = us-west-2
ssh_from = 203.0.113.7/32
[volumes]
{volumes}
[file_systems]
{file_systems}
[vms]
{vms}
[job]
run = {job}
"""
VOLUMES = (
    "data = 50 GiB at /data",
    "work = 20 GiB at /work, keep",
    "fast = 20 GiB at /fast, io2, 1000 IOPS, keep",
    "scratch = 20 GiB at ~/scratch, io2, 1000 IOPS",
    "copy = {lent.snapshot} at /copy",
    "copies = 40 GiB at /copies, from {lent.snapshot}, keep",
    "theirs = {lent.volume} at /theirs",
)
FILE_SYSTEMS = (
    "shared = efs at /shared",
    "lasting = efs at /lasting, keep",
    "quick = lustre 1200 GiB at /quick",
    "slow = lustre 1200 GiB at /slow, keep",
    "lab = efs {lent.efs} at /lab",
)
CALLS = (
    "RunInstances",
    "DescribeInstances",
    "TerminateInstances",
    "StartInstances",
    "StopInstances",
    "CreateTags",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "DescribeSecurityGroups",
    "DeleteSecurityGroup",
    "AttachVolume",
    "DescribeVolumes",
    "DeleteVolume",
    "CreateFileSystem",
    "DescribeFileSystems",
    "DeleteFileSystem",
    "CreateMountTarget",
    "DescribeMountTargets",
    "DeleteMountTarget",
    "CreateImage",
    "DescribeImages",
    "DeregisterImage",
    "DescribeSnapshots",
    "DeleteSnapshot",
    "CreatePlacementGroup",
    "DescribePlacementGroups",
    "DeletePlacementGroup",
    "CreateRole",
    "PutRolePolicy",
    "CreateInstanceProfile",
    "AddRoleToInstanceProfile",
    "DeleteRole",
)
"""API calls that fail, or around which a life is interrupted; CreateFileSystem and two others are of EFS and FSx."""

CODES = ("ThrottlingException", "InternalFailure", "UnauthorizedOperation", "AccessDeniedException")

_JOURNAL_KINDS = {
    "EFS": file_systems.JOURNAL_KINDS["efs"],
    "Lustre": file_systems.JOURNAL_KINDS["lustre"],
    "placement group": placement_groups.JOURNAL_KIND,
}
_LASTING = ("lasting", "slow")
_ROLE = ("role", "instance profile")


class DiskLife(Life):
    """One life with disks while it is lived."""

    name = "disks"
    title = "with volumes, file systems and images"
    actions = CALLS
    codes = CODES
    first = "launch"

    def config(self) -> str:
        """Return the settings, with some of the disks."""
        self.lent = colleague.lend_disks(self.cloud)
        drawn = [
            "\n".join(self.chance.sample(lines, self.chance.choice((0, 1, 2, 2)))).format(lent=self.lent)
            for lines in (VOLUMES, FILE_SYSTEMS)
        ]
        placement = "placement = cluster\n" if self.chance.random() < 0.5 else ""
        reserved = f"capacity_reservation = {self.lent.reservation}" if self.chance.random() < 0.2 else ""
        job = write_job(self.folder / "line")
        return CONFIG.format(volumes=drawn[0], file_systems=drawn[1], vms=placement + reserved, job=job)

    @property
    def verbs(self) -> Mapping[str, Callable[[Session], None]]:
        """What the user does."""
        return {
            "launch": self._launch,
            "launch again": self._launch,
            "launch more": self._launch,
            "bake": self._bake,
            "bake again": self._bake,
            "stop": lambda session: _ignore(session.cluster.stop()),
            "start": lambda session: _ignore(session.cluster.start()),
            "status": self._status,
            "role": self._create_role,
            "delete role": self._delete_role,
            "edit": self._edit,
            "recover": self._recover,
            "terminate": lambda session: self._terminate(session, kept=False),
            "terminate kept": lambda session: self._terminate(session, kept=True),
            "wait": self.wait,
        }

    def prepare(self) -> None:
        """Create a colleague's disks."""
        colleague.create_disks(self.cloud)
        self.cloud.clock.sleep(300)
        self.monitor = InvariantMonitor(self.cloud)
        self.monitor.foreign_ids = {item.id for item in self._disks(ours=False)} - {*self.lent.ids}
        self.computer.on_request = self.monitor.check_request

    def live(self) -> list[str]:
        """Return what bills, of the user; disks of an instance that ends with it bill with that."""
        return [f"{item.kind} {item.id}" for item in self._disks(ours=True)]

    def foreign(self) -> list[str]:
        """Return what there is of other owners, with all of its tags, and their security groups."""
        groups = invariants.resources(self.cloud, ours=False).groups
        reservations = self.cloud.session().client("ec2", region_name=REGION).describe_capacity_reservations()
        states = [f"{item['CapacityReservationId']} {item['State']}" for item in reservations["CapacityReservations"]]
        return [*map(str, self._disks(ours=False)), *sorted(groups), *states]

    def is_recorded(self, line: str, entries: Sequence[JournalEntry]) -> bool:
        """Return True if the journal has the request that made it."""
        kind, _, id_ = line.rpartition(" ")
        item = next(item for item in self.cloud.live_disks(REGION) if item.id == id_)
        if kind == "volume":
            launch_id = item.tags.get(TAG_RUN, "")
            # Those that end with their instance are of its launch.
            is_kept = item.tags.get(volumes.NAME) or not item.parent
            wanted = volumes.JOURNAL_KIND if is_kept else "launch"
            return any(entry.kind == wanted and launch_id in str(entry.facts) for entry in entries if launch_id)
        if kind == "snapshot":
            names = [image.name for image in self.cloud.live_disks(REGION) if image.id == item.parent]
            # Of an image that is being deleted.
            return not names or self._has(entries, "image", names[0])
        if kind == "mount target":
            return True
        if kind in _ROLE:
            return self._has(entries, "role", item.name)
        return self._has(entries, _JOURNAL_KINDS.get(kind, kind), item.name)

    def clean_up(self) -> None:
        """End the cluster, then what it keeps, and the role of its VMs."""
        self.end_all(self._ending)
        self.end_all(self._billed, kept=True)
        session = self.computer.session()
        for _ in range(3):
            if self.live():
                session = self._step(session, "delete role")
                # The next attempt is permitted, as in `end_all`.
                self.cloud.play(Scenario(self.seed, ()))
        self.violations += [f"left: {line}" for line in self.live()]
        self.violations += self.monitor.violations
        left = invariants.resources(self.cloud, ours=True)
        if any((left.instances, left.groups, left.keys)):
            self.violations.append(f"left: {left}")

    def _has(self, entries: Sequence[JournalEntry], kind: str, name: str) -> bool:
        return any((entry.kind, entry.facts.get("name")) == (kind, name) for entry in entries)

    def _disks(self, *, ours: bool) -> Iterator[LiveDisk]:
        """Yield disks of the user, or of others."""
        items = self.cloud.live_disks(REGION)
        theirs = {item.id for item in items if item.tags.get("stratus:owner") == colleague.OWNER} | {*self.lent.ids}
        for item in items:
            if ours != (item.id in theirs or item.parent in theirs):
                yield item

    def _billed(self) -> list[str]:
        return [line for line in self.live() if not line.startswith(_ROLE)]

    def _ending(self) -> list[str]:
        """Return what TerminateAll has to end."""
        lasting = {item.id for item in self._disks(ours=True) if item.tags.get(file_systems.NAME) in _LASTING}
        return [
            f"{item.kind} {item.id}"
            for item in self._disks(ours=True)
            if item.kind in ("EFS", "Lustre", "mount target", "placement group")
            and not lasting & {item.id, item.parent}
        ]

    def _launch(self, session: Session) -> None:
        plan = session.cluster.plan(self.chance.choice((1, 1, 2)))
        try:
            report = session.cluster.launch(plan)
        except KeyboardInterrupt as error:
            left = [str(item) for item in self._disks(ours=True) if item.tags.get(TAG_RUN) == plan.launch_id]
            if left and any("nothing of it is left" in str(line) for line in advice_of(error)):
                self.violations.append(f"a launch that was rolled back left {left}")
            raise
        self.trace += [f"  failed {name}: {error}" for name, error in report.failed.items()]

    def _bake(self, session: Session) -> None:
        host = session.inventory.hosts()[0]
        instance = next(item for item in session.inventory.instances() if item.name == host.name)
        contents = Contents("0123456789abcdef", "line", instance.image_id, "ubuntu", instance.user)
        image_id = session.baked_images.bake(BakePlan(host, instance, contents, 20, None)).id
        copied = [item.id for item in self.cloud.live_disks(REGION) if item.parent == image_id]
        if len(copied) != 1:
            self.violations.append(f"{image_id} is not of the root disk alone: {copied}")

    def _recover(self, session: Session) -> None:
        session.cluster.recover(terminate=self.chance.random() < 0.5)

    def _create_role(self, session: Session) -> None:
        session.instance_roles.create(session.instance_roles.plan(data=["s3://data/rows"]))

    def _delete_role(self, session: Session) -> None:
        session.instance_roles.delete(session.instance_roles.find())

    def _edit(self, _: Session) -> None:
        """Remove all disks from the settings: from the next process on, only the journal knows of them."""
        text = self.computer.config.read_text()
        self.computer.config.write_text(text.partition("[volumes]")[0])

    def _status(self, session: Session) -> None:
        status = session.cluster.status()
        shown = Counter(resource.name for resource in status.managed.resources)
        if doubled := [name for name, count in shown.items() if count > 1]:
            self.violations.append(f"Status shows twice: {doubled}")
        bills = [item for item in self._disks(ours=True) if item.kind in ("EFS", "Lustre", "image") or _is_loose(item)]
        missing = [f"{item.kind} {item.id}" for item in bills if item.id not in shown]
        if missing and not status.managed.problem:
            self.violations.append(f"Status does not show {missing}")
        if unpriced := [item.name for item in status.managed.resources if item.usd_per_hour is None]:
            self.violations.append(f"Status has no price of {unpriced}")

    def _terminate(self, session: Session, *, kept: bool) -> None:
        report = session.cluster.terminate(kept=kept)
        left = self._billed() if kept else self._ending()
        if not report.remaining and left:
            self.violations.append(f"TerminateAll reports nothing left, and there is {left}")


def _is_loose(item: LiveDisk) -> bool:
    """Return True for a volume that no instance uses."""
    return item.kind == "volume" and not item.parent


def _ignore(_: object) -> None:
    """Take a result that nothing depends on."""
