"""Access to instances as the settings define it: networks for SSH, and further open ports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from orchestrator.config.aws_value_types import ANYWHERE, ME, OpenPorts
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.config import settings

ADDRESS_TIMEOUT_S = 5


@dataclass(frozen=True)
class PortRange:
    """TCP ports that are open to one network.

    :param network: such as ``203.0.113.7/32``.
    """

    first: int
    last: int
    network: str


@dataclass(frozen=True)
class SshAccess:
    """Networks that may connect to the instances by SSH, and further open ports.

    :param vpc_id: VPC of the security group.
    :param port: of the SSH server.
    :param sources: networks, such as ``203.0.113.7/32``.
    :param user_group_id: id of a security group of the user, which replaces the cluster's own; empty for none.
    :param open_ports: ports besides that of SSH.
    """

    vpc_id: str
    port: int
    sources: tuple[str, ...]
    user_group_id: str = ""
    open_ports: tuple[PortRange, ...] = ()


def public_address(url: str) -> str:
    """Return this computer's public IP address as a service on the internet sees it.

    :param url: of the service, which answers with the address as text.
    :raises StratusError: there was no valid answer.
    """
    from urllib.request import urlopen

    try:
        # 64 bytes hold any address; a proxy's error page is not read to its end.
        with urlopen(url, timeout=ADDRESS_TIMEOUT_S) as response:
            return str(ip_address(response.read(64).decode("ascii", "replace").strip()))
    except (OSError, ValueError) as error:
        raise StratusError(
            f"cannot look up the public address of this computer at {url}: {error}",
            fix="set it in the config: [aws] ssh_from = 203.0.113.7/32",
        ) from error


def ssh_access(
    settings: settings.Settings, vpc_id: str, *, find_address: Callable[[str], str] = public_address
) -> SshAccess:
    """Return the access of the settings; ``ssh_from = auto``, and ports ``from me``, allow this computer only.

    :param find_address: returns this computer's public address, given the URL to ask; called only where it is needed.
    """
    group_id, ssh_from = settings.aws.security_group_id, settings.aws.ssh_from
    if group_id:
        return SshAccess(vpc_id, settings.ssh.port, (), group_id)
    own_address = cache(lambda: find_address(settings.aws.address_url))
    parts = [part.strip() for part in ssh_from.split(",") if part.strip()]
    if ssh_from == "auto":
        parts = [own_address()]
    sources = sorted({str(ip_network(part, strict=False)) for part in parts})
    ranges = {
        PortRange(ports.first, ports.last, _network(ports, own_address)): None for ports in settings.aws.open_ports
    }
    return SshAccess(vpc_id, settings.ssh.port, tuple(sources), open_ports=tuple(ranges))


def _network(ports: OpenPorts, own_address: Callable[[], str]) -> str:
    if ports.source == ANYWHERE:
        return "0.0.0.0/0"
    return str(ip_network(own_address() if ports.source == ME else ports.source, strict=False))
