"""Instances of an endpoint: a container each, of all of its variants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from localcloud.aws.wsgi import Params
from localcloud.sagemaker.hosting.interface import DEFAULT_START_TIMEOUT_S, Server

_AT_ONCE = 4


@dataclass
class Variant:
    """Containers of one variant; requests go to one after the other.

    :param is_serverless: it has one container, and no instances.
    """

    servers: list[Server] = field(default_factory=list)
    is_serverless: bool = False
    _turns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def count(self) -> int:
        """Number of its instances."""
        return 0 if self.is_serverless else len(self.servers)

    def next_server(self) -> Server | None:
        """Return the container for the next request; None if there is none."""
        servers = list(self.servers)
        return servers[next(self._turns) % len(servers)] if servers else None


Fleet = dict[str, Variant]
"""Variants by name."""


def start(config: Params, create: Callable[[Params, int], Server]) -> Fleet:
    """Start every container of a configuration.

    :param create: returns the container of a variant, given the number of its instance from 0.
    :raises StartFailed: one does not pass its health check; all are stopped.
    """
    fleet = {}
    try:
        for params in config["ProductionVariants"]:
            is_serverless = "ServerlessConfig" in params
            count = 1 if is_serverless else params["InitialInstanceCount"]
            fleet[params["VariantName"]] = Variant(start_servers(params, range(count), create), is_serverless)
    except BaseException:
        stop(fleet.values())
        raise
    return fleet


def start_servers(params: Params, numbers: Iterable[int], create: Callable[[Params, int], Server]) -> list[Server]:
    """Start containers of a variant, several at once.

    :raises StartFailed: one does not pass its health check; all are stopped.
    """
    servers = [create(params, number) for number in numbers]
    timeout_s = float(params.get("ContainerStartupHealthCheckTimeoutInSeconds", DEFAULT_START_TIMEOUT_S))
    try:
        if len(servers) == 1:
            servers[0].start(timeout_s)
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda server: server.start(timeout_s), servers))
    except BaseException:
        stop_servers(servers)
        raise
    return servers


def stop(variants: Iterable[Variant]) -> None:
    """Stop every container."""
    stop_servers(server for variant in variants for server in variant.servers)


def stop_servers(servers: Iterable[Server]) -> None:
    """Stop containers."""
    for server in servers:
        server.stop()


def counts(fleet: Mapping[str, Variant]) -> dict[str, int]:
    """Return the instances of each variant."""
    return {name: variant.count for name, variant in fleet.items()}
