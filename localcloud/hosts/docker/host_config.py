"""Files with which a docker host boots: those that differ between hosts, in the role of AMI and network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.core.addresses import ENDPOINT_PORT, METADATA_ADDRESS, AddressBlock
from localcloud.hosts import system_files
from localcloud.hosts.spec import HostSpec

# systemd-resolved names itself, on loopback, in the first file, and the actual servers in the second.
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# Variables of the owner that describe access to the network and are valid in a container, too.
_NETWORK = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|DISABLE_PIP_VERSION_CHECK)|\w+_(proxy|PROXY)"
)
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Variables that programs run by sudo need for access to the cloud.
_SUDO_KEEPS = "AWS_* *_PROXY *_proxy PIP_* LANG"
_GATE, _GATE_FILE = "SECURITY-GROUPS", "etc/localcloud/iptables-gate"
GATE_COMMAND = ("iptables-restore", "--noflush", f"/{_GATE_FILE}")
"""Applies the file of ``gate_files`` to a host that is running."""
# Docker hosts have the metadata service at its own address.
_METADATA_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


@dataclass(frozen=True)
class UnresponsivePort:
    """A port on which no SSH server answers.

    :param accepts: True if connections are accepted and then get no data; otherwise they are not answered at all.
    """

    port: int
    accepts: bool


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the owner's variables that a host needs for the network; none that contain paths."""
    return {
        name: value
        for name, value in environ.items()
        if _NETWORK.fullmatch(name) and not ("PIP_" in name and "file:" in value)
    }


def image_files(spec: HostSpec, network: Mapping[str, str], gateway: str) -> dict[str, str]:
    """Return the files of a new host's disk, by path relative to its root folder.

    :param network: variables from ``network_variables``.
    :param gateway: address of the cloud's endpoint.
    """
    variables = {**network, **spec.environment, **_proxy_exceptions(network, spec, gateway), "LANG": "C.UTF-8"}
    variables.pop(_METADATA_VARIABLE, None)
    session = "".join(f'{name}="{value}"\n' for name, value in {"PATH": _SEARCH_PATH, **variables}.items())
    # systemd expands percent signs, which URLs may contain.
    services = "".join(f'DefaultEnvironment="{name}={value}"\n'.replace("%", "%%") for name, value in variables.items())
    return {
        # For sessions, by PAM; and for services.
        "etc/environment": session,
        "etc/systemd/system.conf.d/50-localcloud.conf": f"[Manager]\n{services}",
        "etc/sudoers.d/50-localcloud": f'Defaults env_keep += "{_SUDO_KEEPS}"\n',
        "etc/cloud/cloud.cfg.d/95-localcloud.cfg": json.dumps(
            {"system_info": {"default_user": system_files.login_user(spec, *(["docker"] if spec.has_engine else []))}}
        ),
        "etc/docker/daemon.json": json.dumps(_engine_settings(gateway), indent=1) + "\n",
    }


def boot_files(spec: HostSpec, block: AddressBlock, unresponsive: UnresponsivePort | None) -> dict[str, str]:
    """Return the files of a host that each boot may change, by path relative to its root folder."""
    return {
        **network_files(block.endpoint, spec, unresponsive),
        **gate_files(spec, block.ssh_port),
        **system_files.package_faults(spec),
        "etc/ssh/sshd_config.d/50-localcloud.conf": f"Port {spec.port}\n",
    }


def gate_files(spec: HostSpec, port: int) -> dict[str, str]:
    """Return the file that makes the SSH port silent at the addresses at which it is not open; see ``GATE_COMMAND``.

    :param port: as clients know it.
    """
    # Before the destination becomes the private address; connections that are open stay open.
    rules = [
        f"-A {_GATE} -d {address} -p tcp --dport {port} -m conntrack --ctstate NEW -j DROP"
        for address in spec.addresses
        if not spec.is_open(address)
    ]
    # The declaration of a chain empties it.
    return {_GATE_FILE: "\n".join(["*mangle", f":{_GATE} - [0:0]", *rules, "COMMIT", ""])}


def network_files(gateway: str, spec: HostSpec | None, unresponsive: UnresponsivePort | None) -> dict[str, str]:
    """Return the files that direct addresses to the cloud and to the host, and that block a port.

    :param spec: of the host; None for one without addresses of its own.
    """
    public = spec.public_address if spec is not None else ""
    rules = [
        "*mangle",
        f":{_GATE} - [0:0]",
        f"-A PREROUTING -j {_GATE}",
        "COMMIT",
        "*nat",
        f"-A OUTPUT -d {METADATA_ADDRESS} -p tcp --dport 80 -j DNAT --to-destination {gateway}:{ENDPOINT_PORT}",
    ]
    if spec is not None and public:
        # As EC2's gateway does: programs on the host are reached at its private address only.
        rules.append(f"-A PREROUTING -d {public} -j DNAT --to-destination {spec.address}")
    silent_port = ""
    if unresponsive is not None and unresponsive.accepts:
        silent_port = str(unresponsive.port)
    elif unresponsive is not None:
        rules += ["COMMIT", "*filter", f"-A INPUT -p tcp --dport {unresponsive.port} -j DROP"]
    return {
        "etc/localcloud/iptables": "\n".join([*rules, "COMMIT", ""]),
        # These are written at every boot, because an empty file undoes that of an earlier boot.
        "etc/localcloud/public-address": public,
        "etc/localcloud/silent-port": silent_port,
    }


def nameservers(files: Sequence[Path] = _RESOLVERS) -> list[str]:
    """Return this computer's name servers that containers can reach, from the first of ``files`` that has any."""
    for file in files:
        try:
            fields = [line.split() for line in file.read_text().splitlines()]
        except OSError:
            continue
        addresses = [field[1] for field in fields if len(field) > 1 and field[0] == "nameserver"]
        if servers := [address for address in addresses if not address.startswith("127.") and ":" not in address]:
            return servers
    return []


def _engine_settings(gateway: str) -> dict[str, object]:
    """Return settings for an engine on a host: a registry at the gateway uses plain HTTP, on any port.

    Containers on a host cannot use the host's resolver, which is that of this computer's engine.
    """
    settings: dict[str, object] = {"insecure-registries": [f"{gateway}/32"]}
    if servers := nameservers():
        settings["dns"] = servers
    return settings


def _proxy_exceptions(network: Mapping[str, str], spec: HostSpec, gateway: str) -> dict[str, str]:
    """Return the variables that keep traffic to this cloud off the owner's proxy."""
    owner = network.get("NO_PROXY") or network.get("no_proxy")
    exceptions = ",".join(filter(None, [owner, gateway, METADATA_ADDRESS, spec.address]))
    return {"NO_PROXY": exceptions, "no_proxy": exceptions}
