"""Configuration of a docker host for its next boot, and the archive that copies it into the container."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.hosts import user_data
from localcloud.hosts.spec import HostSpec

# systemd-resolved names itself, on loopback, in the first file, and the actual servers in the second.
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_CONFIG_PATH = "var/lib/host/boot.json"
# Variables of the owner that describe access to the network and are valid in a container, too.
_NETWORK = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|DISABLE_PIP_VERSION_CHECK)|\w+_(proxy|PROXY)"
)


@dataclass(frozen=True)
class LivenessEndpoint:
    """Address of the liveness connection of one boot.

    :param token: identifies host and boot.
    """

    host: str
    port: int
    token: str


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the owner's variables that a host needs for the network; none that contain paths."""
    return {
        name: value
        for name, value in environ.items()
        if _NETWORK.fullmatch(name) and not ("PIP_" in name and "file:" in value)
    }


def boot_config(
    spec: HostSpec, network: Mapping[str, str], liveness: LivenessEndpoint, opens_at: float
) -> dict[str, Any]:
    """Return the configuration of a host's next boot, as plain JSON values.

    :param network: variables from ``network_variables``.
    :param opens_at: time at which SSH may open, in seconds since the epoch.
    """
    data = user_data.parse(spec.user_data)
    return {
        "user": spec.user,
        "port": spec.port,
        "authorized_keys": [*spec.authorized_keys, *data.authorized_keys],
        "host_keys": dict(data.host_keys),
        "files": [{**vars(file), "content": base64.b64encode(file.content).decode()} for file in data.files],
        "bootcmd": data.bootcmd,
        "runcmd": data.runcmd,
        "scripts": [base64.b64encode(script).decode() for script in data.scripts],
        "warnings": list(data.warnings),
        "environment": {**network, **spec.environment, **_proxy_exceptions(network, spec, liveness), "LANG": "C.UTF-8"},
        "engine": _engine_settings(liveness.host),
        "liveness": vars(liveness),
        "opens_at": opens_at,
    }


def to_tar(values: Mapping[str, Any]) -> bytes:
    """Return a tar of the configuration, to be unpacked at the root of a host; only its root may read it."""
    content = json.dumps(values).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(_CONFIG_PATH)
        # The configuration contains private host keys.
        member.size, member.mode = len(content), 0o600
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _engine_settings(gateway: str) -> dict[str, Any]:
    """Return settings for an engine on a host: a registry at the gateway uses plain HTTP, on any port.

    Containers on a host cannot use the host's resolver, which is that of this computer's engine.
    """
    settings: dict[str, Any] = {"insecure-registries": [f"{gateway}/32"]}
    if servers := nameservers():
        settings["dns"] = servers
    return settings


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


def _proxy_exceptions(network: Mapping[str, str], spec: HostSpec, liveness: LivenessEndpoint) -> dict[str, str]:
    """Return the variables that keep traffic to this cloud off the owner's proxy."""
    exceptions = ",".join(
        filter(None, [network.get("NO_PROXY") or network.get("no_proxy"), liveness.host, spec.address])
    )
    return {"NO_PROXY": exceptions, "no_proxy": exceptions}
