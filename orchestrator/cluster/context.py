"""Everything that the components of one cluster share: settings, clients, identity, keys, prices, clock, events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws import client, owner_id
from orchestrator.aws import identity as aws_identity
from orchestrator.aws import parallel as aws_parallel
from orchestrator.aws.ec2 import key_pairs
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.launch import launch_log
from orchestrator.core import file_lock
from orchestrator.core.clock import Clock
from orchestrator.core.events import EventHandler
from orchestrator.core.journal import Journal
from orchestrator.hosts import host_keys, parallel
from orchestrator.ssh import SshClient

if TYPE_CHECKING:
    from orchestrator.aws.pricing import price_list
    from orchestrator.aws.sagemaker.prices import SageMakerPrices
    from orchestrator.config.settings import Settings, SshSettings


def connect_over_ssh(ssh: SshSettings, clock: Clock) -> SshClient:
    """Return a client for real SSH connections."""
    return SshClient(clock, connect_timeout_s=ssh.connect_timeout)


@dataclass(frozen=True)
class Runtime:
    """Time, SSH and threads of one session.

    :param connect: returns the SSH client for the ``[ssh]`` settings.
    :param optional_timeout_s: timeout of lookups whose result a launch does not depend on.
    :param sequential: do all work in the calling thread, host after host in a fixed order, so that a test in virtual
        time can be repeated exactly.
    """

    clock: Clock
    connect: Callable[[SshSettings, Clock], SshClient] = connect_over_ssh
    optional_timeout_s: float = aws_parallel.OPTIONAL_TIMEOUT_S
    sequential: bool = False

    @property
    def for_each(self) -> parallel.ForEach:
        """Runner of the same work on many hosts."""
        return parallel.for_each_sequential if self.sequential else parallel.for_each


@dataclass(frozen=True)
class ClusterContext:
    """One cluster as one set of settings defines it; what takes a call or a file is looked up on first use.

    :param home: folder of everything that is kept on this computer.
    :param on_event: called with every change of state, from several threads.
    :param recorded_id: of another cluster, in the place of the one that the settings name.
    """

    settings: Settings
    home: Path
    on_event: EventHandler
    clients: client.Clients
    runtime: Runtime
    recorded_id: aws_identity.ClusterId | None = None

    @property
    def clock(self) -> Clock:
        """The clock of everything in this cluster."""
        return self.runtime.clock

    @cached_property
    def identity(self) -> aws_identity.Identity:
        """The caller's identity as AWS STS reports it; one call, unless it was made in the last hours."""
        return aws_identity.known_identity(self.clients, self.home)

    @cached_property
    def cluster_id(self) -> aws_identity.ClusterId:
        """Name, owner, account and region, which distinguish this cluster's resources from all others."""
        if self.recorded_id is not None:
            return self.recorded_id
        return aws_identity.cluster_id(self.clients, self.settings, self.identity, lambda: self.owner_id.value)

    @cached_property
    def owner_id(self) -> owner_id.OwnerId:
        """The owner id that is kept on this computer; made when it is first needed."""
        return owner_id.load(self.home, self.clock.new_id)

    @property
    def owner_id_problem(self) -> str:
        """Reason why the caller's role cannot be told from other people behind it; empty if it can, or need not."""
        needs_id = self.cluster_id.is_caller and aws_identity.role_of(self.cluster_id.owner)
        return self.owner_id.problem if needs_id and not self.cluster_id.owner_id else ""

    @property
    def ownership(self) -> Ownership:
        """The cluster's owner, with the instances that the journal of this computer lists."""
        return self.launch_log.ownership

    @cached_property
    def key_pair(self) -> key_pairs.KeyPair:
        """The key pair for logins to the instances."""
        return key_pairs.for_settings(self.settings, self.cluster_id, home=self.home)

    @cached_property
    def journal(self) -> Journal:
        """Write-ahead journal of the calls that create resources."""
        return Journal(self.home, clock=self.clock)

    @property
    def launch_log(self) -> launch_log.LaunchLog:
        """The journal's entries of this cluster's launches."""
        return launch_log.LaunchLog(self.journal, self.cluster_id, self.clock)

    @cached_property
    def prices(self) -> price_list.PriceList:
        """The prices known to this computer."""
        from orchestrator.aws.pricing import price_list

        return price_list.PriceList(
            self.clients,
            self.home / "prices.json",
            endpoint=self.settings.aws.endpoint_url,
            timeout_s=self.runtime.optional_timeout_s,
        )

    @cached_property
    def managed_prices(self) -> SageMakerPrices:
        """The prices of SageMaker's instances known to this computer."""
        from orchestrator.aws.sagemaker.prices import SageMakerPrices

        return SageMakerPrices(self.prices, self.settings.aws.region)

    @cached_property
    def known_hosts(self) -> host_keys.KnownHostKeys:
        """The host keys that this computer has seen in force."""
        # The file name of earlier versions, whose keys stay valid.
        return host_keys.KnownHostKeys(self.home / "ssh" / "pins", self.clock)

    @cached_property
    def ssh(self) -> SshClient:
        """The SSH client, which keeps its connections."""
        return self.runtime.connect(self.settings.ssh, self.clock)

    def of(self, cluster_id: aws_identity.ClusterId) -> ClusterContext:
        """Return the context of another cluster of the account, without the resources that these settings name."""
        is_own = cluster_id.region == self.clients.region
        clients = self.clients if is_own else self.clients.in_region(cluster_id.region)
        vms = replace(self.settings.vms, placement="")
        sagemaker = replace(self.settings.sagemaker, role="", sagemaker_bucket="")
        settings = replace(self.settings, volumes=(), file_systems=(), vms=vms, sagemaker=sagemaker)
        return replace(self, settings=settings, clients=clients, recorded_id=cluster_id)

    @property
    def folder(self) -> Path:
        """The cluster's own folder on this computer: timings, logs of installs."""
        return self.home / "clusters" / f"{self.cluster_id.resource_name}-{self.cluster_id.region}"

    @property
    def recent_hosts(self) -> Path:
        """File of the hosts that the last command went to; its name does not depend on a call."""
        aws, cluster = self.settings.aws, self.settings.cluster
        values = (cluster.name, cluster.owner, cluster.owner_id, aws.region, aws.profile, aws.endpoint_url)
        name = f"{cluster.name}-{aws.region}-{sha256(repr(values).encode()).hexdigest()[:8]}.json"
        return self.home / "recent-hosts" / name

    def lock(self, cluster_id: aws_identity.ClusterId | None = None) -> file_lock.Lock:
        """Hold the cluster's lock: one process of this computer launches into it, or terminates it, at a time.

        :param cluster_id: of another cluster; None for this one.
        :raises AlreadyLocked: another process holds it.
        :raises LockUnavailable: the lock's file cannot be opened.
        """
        cluster_id = cluster_id or self.cluster_id
        # One lock per region: clusters of one name in two regions are different clusters.
        path = self.home / "locks" / f"{cluster_id.resource_name}-{cluster_id.region}.lock"
        return file_lock.hold(path, f"launching into {cluster_id.cluster}")
