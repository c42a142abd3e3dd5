"""Documents of ``--output json``: their keys are a contract with scripts, whatever the records' fields are called."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.capacity.offerings import Offering
from orchestrator.aws.capacity.quotas import Quota, QuotaIncrease, QuotaUsage
from orchestrator.aws.ec2.instance_roles import InstanceRoleDocuments
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.ingress.access import PortRange
from orchestrator.aws.managed.resources import ManagedEnd, ManagedEndReport, ManagedResource, ManagedSurvey
from orchestrator.aws.pricing.break_even import BreakEven, OwnComputer, Rental, Use
from orchestrator.aws.sagemaker.quotas import SageMakerQuota, SageMakerQuotaIncrease
from orchestrator.aws.sagemaker.roles import RoleDocuments
from orchestrator.aws.storage.unfinished import UnfinishedUpload
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import SameRoleOwner
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.lifetime import ExtendedHost, ExtendReport, IdleShutdownReport
from orchestrator.cluster.machines.gpus import GpuReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core import errors
from orchestrator.core.cost import Amount, Bill
from orchestrator.core.errors import Problem
from orchestrator.core.host import Host
from orchestrator.core.next_step import Message
from orchestrator.hosts.all_reduce import AllReduce, Link, Reduction
from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.disk_room import DiskRoom, FullDisk
from orchestrator.hosts.gpu_health import GpuState, HostGpus
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.hosts.tunnels import Dashboard, OpenTunnel, PortTunnel
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.install.sending import HostTransfers
from orchestrator.interface.cli import json_output
from orchestrator.interface.render import registry
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.kill import HostKill, KillReport
from orchestrator.jobs.record import PastRun, RunRecord
from orchestrator.jobs.records.waterfall import HostPhases, Waterfall
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary
from orchestrator.services.account import AccessReport, Cost
from orchestrator.services.hosting.endpoints import EndpointEnd, EndpointStatus
from orchestrator.services.hosting.transforms import TransformResult
from orchestrator.services.images import PushedImage
from orchestrator.services.instance_roles import InstanceRoleEnd, InstanceRolePlan
from orchestrator.services.machines.baked_images import (
    BakeReport,
    ImageDeletion,
    ImageDeletions,
    ImageList,
    ListedImage,
)
from orchestrator.services.managed.tuning_runs import TuningTrial
from orchestrator.services.notebooks import NotebookPage, NotebookStop
from orchestrator.services.roles import RolePlan
from orchestrator.services.ssh_config import SshConfigReport
from orchestrator.services.storage import AbortReport, DataListing, ListedObject, TransferReport
from orchestrator.services.tensorboard import TensorBoardPage, TensorBoardStop
from tests.support.interface.example_records import example, type_hints

KEYS: dict[type, str] = {
    EndpointStatus: "name mode state type count usd_per_hour created ends scaling reason",
    EndpointEnd: "deleted",
    TransformResult: "name state output objects seconds cost_usd",
    ClusterStatus: "cluster region owner machines at foreign usd_per_hour usd_per_hour_stopped usd_spent expires "
    "usd_spent_range elsewhere owner_id same_role managed tunnels full_disks",
    OpenTunnel: "host remote_port purpose address port pid",
    TensorBoardPage: "host logs url",
    TensorBoardStop: "host count",
    InstanceStatus: "name id type state zone address launched expires usd_per_hour usd_per_hour_disk_each spot stopped "
    "usd_spent_range idle_minutes",
    TerminateReport: "instances group key usd_spent unsure note foreign left untouched usd_spent_range elsewhere "
    "not_fetched started_in same_role unfinished_uploads managed",
    ManagedSurvey: "resources usd_per_hour problem",
    ManagedResource: "kind name state type count usd_per_hour created ends kept detail",
    ManagedEndReport: "ends left kept",
    ManagedEnd: "resource error",
    SameRoleOwner: "owner session machines usd_per_hour",
    OtherCluster: "cluster owner account region machines may_come usd_per_hour problem",
    InstanceResult: "name id state error usd_per_hour_disk_each",
    LaunchReport: "launch api_seconds ready failed seconds",
    HostStartup: "name zone pending_seconds boot_seconds ssh_seconds",
    RecoverReport: "leftovers ready failed ended left elsewhere same_role",
    InterruptedLaunch: "run since machines may_come usd_per_hour usd_spent expires",
    InstallReport: "hosts failed seconds changed",
    HostInstall: "host steps seconds image",
    StepResult: "name state seconds",
    RunHandle: "run job multi roles dashboard folder short",
    RunResult: "run job seconds",
    CancelReport: "run left failed ended_as",
    PastRun: "run job state started seconds hosts usd folder metrics metrics_host",
    RunSummary: "run job multi hosts state started seconds",
    RunRecord: "run job folder state hosts outputs bytes seconds metrics seconds_by_phase usd failed bill problems "
    "metrics_host",
    Bill: "seconds machines disks spot addresses",
    Amount: "at_least at_most",
    JoinReport: "run joined failed",
    Dashboard: "url",
    PortTunnel: "host remote_port address port",
    BakeReport: "image name host job state size_gib max_usd_per_month seconds",
    ImageList: "images",
    ListedImage: "image name state use job base size_gib max_usd_per_month created_at snapshots",
    ImageDeletions: "images",
    ImageDeletion: "image error",
    NotebookPage: "host url",
    NotebookStop: "host ran",
    GpuReport: "hosts failed all_reduce bad",
    HostGpus: "host type expected driver gpus problems",
    GpuState: "index name memory_errors",
    AllReduce: "hosts links reductions broken slow without_nccl",
    Link: "from to gbit_per_s slow",
    Reduction: "backend gbit_per_s processes seconds",
    Waterfall: "run job hosts",
    HostPhases: "seconds seconds_by_phase",
    HostTransfers: "source hosts failed",
    HostTransfer: "host source target bytes bytes_here seconds left_out",
    TransferReport: "source target files unchanged bytes bytes_sent seconds failed",
    DataListing: "url folders objects truncated unfinished",
    ListedObject: "name bytes modified",
    UnfinishedUpload: "url id",
    AbortReport: "aborted",
    KillReport: "hosts failed",
    HostKill: "host runs left stuck",
    UsageReport: "hosts failed",
    HostUsage: "host cores load memory_used memory gpus tasks disks",
    DiskRoom: "mount percent free",
    FullDisk: "host mount percent free at",
    Gpu: "index name busy memory_used memory celsius tasks",
    GpuProcess: "pid run memory_mib command",
    HostProcess: "pid run cpu memory command",
    CommandReport: "command hosts failed",
    CommandOutput: "host status lines seconds",
    Cost: "usd_per_hour usd_spent usd_at_most expires usd_per_hour_stopped usd_spent_range idle_minutes managed",
    ExtendReport: "hosts failed usd_at_most max_dollars",
    ExtendedHost: "name before expires capped",
    IdleShutdownReport: "minutes hosts failed",
    QuotaIncrease: "limit wanted status open",
    QuotaUsage: "quota needed limit in_use",
    Quota: "code families market",
    SageMakerQuotaIncrease: "limit wanted status open",
    SageMakerQuota: "quota needed limit in_use",
    TuningTrial: "job state value hyperparameters seconds usd reason best",
    InstanceRolePlan: "name arn current set reads writes role",
    InstanceRoleDocuments: "name trust permissions",
    InstanceRoleEnd: "name set",
    RolePlan: "name arn bucket current role pass_role",
    RoleDocuments: "name trust permissions",
    PushedImage: "job image tag",
    Offering: "type vcpus memory_gib gpus gpu usd_per_hour_each room gpu_memory_gib usd_per_hour_spot network zones",
    BreakEven: "instance_type region price_source use own rentals usd_per_year_stopped",
    OwnComputer: "usd watts usd_per_kwh",
    Use: "hours_per_day years",
    Rental: "market usd_per_hour",
    AccessReport: "before now port open_ports",
    PortRange: "first last from",
    SshConfigReport: "config hosts user_config included",
    Host: "name user address port",
    Problem: "file line what",
}

ERROR_KEYS: list[tuple[errors.StratusError, str]] = [
    (errors.StratusError("x"), "error=StratusError what exit_code"),
    (errors.UsageError("x", where="y", code="z", fix="w"), "error=UsageError what exit_code where code fix"),
    (errors.ConfigError([errors.Problem("f", 1, "x")]), "error=ConfigError what exit_code problems"),
    (errors.CloudRefused("x", code="y"), "error=CloudRefused what exit_code code"),
    (errors.NotReady([errors.UsageError("x")]), "error=NotReady what exit_code problems"),
    (errors.LeftRunning("x", left=["y"]), "error=LeftRunning what exit_code left"),
    (errors.JobFailed("x", exit_status=3), "error=JobFailed what exit_code exit_status tail"),
    (errors.HostError("x", where="y"), "error=HostError what exit_code where"),
    (errors.ConnectError("refused", "x"), "error=ConnectError what exit_code"),
    (errors.HostsFailed("x", {"ml-0": errors.HostError("y")}), "error=HostsFailed what exit_code hosts"),
]


@pytest.mark.parametrize("record_class", KEYS, ids=lambda record_class: record_class.__name__)
def test_the_keys_of_a_document_are_these_in_this_order(record_class: type) -> None:
    document = json_output.document(example(record_class))

    assert list(document) == KEYS[record_class].split()
    assert json.loads(json_output.text(document)) == document


@pytest.mark.parametrize(("error", "keys"), ERROR_KEYS, ids=lambda value: getattr(value, "json_name", ""))
def test_an_error_has_its_name_and_keys_in_this_order(error: errors.StratusError, keys: str) -> None:
    document = json_output.document(error)

    name, *rest = keys.split()
    assert [f"error={document['error']}", *list(document)[1:]] == [name, *rest]


def test_every_record_that_a_verb_answers_with_has_a_document_and_a_contract() -> None:
    registry.load()
    answered = set(_records_of_verbs()) - {Message}

    assert len(answered) > 30
    assert {record.__name__ for record in answered - set(registry.document.registry)} == set()
    assert {record.__name__ for record in answered - set(KEYS)} == set()


def test_a_record_without_a_document_is_refused_rather_than_guessed() -> None:
    @dataclasses.dataclass
    class Unregistered:
        name: str = "x"

    with pytest.raises(TypeError, match="no JSON document is registered for"):
        json_output.document(Unregistered())


def test_every_error_class_states_the_name_that_scripts_know_it_by() -> None:
    registry.load()

    def subclasses(base: type) -> Iterator[type]:
        subclass: type
        for subclass in base.__subclasses__():
            yield subclass
            yield from subclasses(subclass)

    unnamed = [cls for cls in subclasses(errors.StratusError) if "orchestrator" in cls.__module__]
    assert [cls.__name__ for cls in unnamed if "json_name" not in vars(cls)] == []


def test_money_is_text_times_are_iso_8601_paths_and_foreign_errors_are_text() -> None:
    found = json_output.document(example(RunRecord))

    assert found["usd"] == "1.25"
    assert found["folder"] == str(Path("runs/x"))
    assert found["failed"] == {"x": "boom"}
    assert json_output.document(example(ClusterStatus))["at"] == "2026-11-20T14:12:00+00:00"


def _records_of_verbs() -> Iterator[type]:
    for verb in default_registry():
        yield from _records(type_hints(verb.function).get("return"), set())


def _records(hint: Any, seen: set[type]) -> Iterator[type]:
    for part in typing.get_args(hint):
        yield from _records(part, seen)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in seen:
        seen.add(hint)
        yield hint
        for field_hint in type_hints(hint).values():
            yield from _records(field_hint, seen)
