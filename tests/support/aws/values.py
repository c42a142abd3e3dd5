"""A cluster, a launch plan and instances as values, for tests that make no AWS call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.aws.client import Clients
from orchestrator.aws.ec2.images import Image
from orchestrator.aws.ec2.instance_types import InstanceType
from orchestrator.aws.ec2.instances import Disk, Instance
from orchestrator.aws.ec2.network import Placement, Subnet
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.launch import planner
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.launch.run_instances import LaunchResources
from orchestrator.aws.pricing import price_table
from orchestrator.config.settings import Settings
from orchestrator.crypto.ssh_keys import HostKey

NOW = datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC)
CLUSTER_ID = ClusterId("ml", "arn:aws:iam::123456789012:user/ada", "123456789012", "us-west-2")
TYPE_INFO = InstanceType("c7i.2xlarge", 8, 16.0, ("x86_64",), zones=("us-west-2a", "us-west-2b"))
IMAGE = Image("ami-1", "ubuntu", "ubuntu", "x86_64", "/dev/sda1", 8)
SUBNET_A, SUBNET_B = Subnet("subnet-a", "us-west-2a", 100), Subnet("subnet-b", "us-west-2b", 50)
HOST_KEY = HostKey(private='-----BEGIN\n"quotes": {braces} #hash\n', public="ssh-ed25519 AAAAC3Nz")
RESOURCES = LaunchResources("stratus-ml-1", "sg-1", HOST_KEY)

PLAN = LaunchPlan(
    cluster_id=CLUSTER_ID,
    launch_id="20261120-141207-ab12",
    names=("ml-0", "ml-1"),
    type_info=TYPE_INFO,
    image=IMAGE,
    placement=Placement("vpc-1", (SUBNET_A, SUBNET_B)),
    subnet=SUBNET_A,
    disk=Disk("gp3", 75),
    max_hours=8.0,
    user="ubuntu",
    price=price_table.per_hour("c7i.2xlarge", "us-west-2"),
    disk_price=price_table.disk_per_hour(Disk("gp3", 75), "us-west-2"),
)


def instance(number: int, *, owner: str = CLUSTER_ID.owner, age_s: float = 3600) -> Instance:
    """Return a running instance ``ml-<number>`` that was launched some seconds before `NOW`."""
    return Instance(
        id=f"i-{number:017x}",
        name=f"ml-{number}",
        cluster="ml",
        launch_id="r",
        owner=owner,
        type="c7i.2xlarge",
        state="running",
        reason="",
        zone="us-west-2a",
        public_address="",
        private_address="",
        host_key="",
        key_name="",
        launched_at=NOW - timedelta(seconds=age_s),
        expires_at=None,
        max_hours=8.0,
        image_id="ami-1",
        group_ids=(),
    )


def look_up_plan(clients: Clients, settings: Settings, cluster_id: ClusterId, count: int) -> LaunchPlan:
    """Return the plan of a launch with the prices of the table."""
    results = clients.in_parallel(*planner.lookups(clients, settings, Ownership(cluster_id)).values())
    return planner.build_plan(
        clients,
        settings,
        planner.LookupResults(cluster_id, *results),
        count=count,
        launch_log=None,
        prices=price_table.TABLE,
    )
