"""What a docker host is told before it boots, and how it is put on its disk."""

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

# The second is systemd-resolved's, which says in the first that it listens on loopback.
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_PLACE = "var/lib/host/orders.json"
# What of the owner's environment says how this computer reaches its network, and is true in a container, too.
_NETWORK = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|DISABLE_PIP_VERSION_CHECK)|\w+_(proxy|PROXY)"
)


@dataclass(frozen=True)
class LivenessEndpoint:
    """Where a host says what happens to it, and that it must not end.

    :param token: proves which boot of which host speaks.
    """

    host: str
    port: int
    token: str


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the owner's environment a host needs to reach the network as the owner does; no paths."""
    return {
        name: value
        for name, value in environ.items()
        if _NETWORK.fullmatch(name) and not ("PIP_" in name and "file:" in value)
    }


def boot_config(
    spec: HostSpec, network: Mapping[str, str], liveness: LivenessEndpoint, opens_at: float
) -> dict[str, Any]:
    """What a host does at its next boot, as plain JSON values.

    :param network: variables from ``network_variables``.
    :param opens_at: when SSH may open, in seconds since the epoch.
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
        "remarks": list(data.warnings),
        "environment": {**network, **spec.environment, **_proxy_exceptions(network, spec, liveness), "LANG": "C.UTF-8"},
        "engine": _engine_settings(liveness.host),
        "tether": vars(liveness),
        "opens_at": opens_at,
    }


def to_tar(values: Mapping[str, Any]) -> bytes:
    """A tar of the orders, to be unpacked at the root of a host; only its root may read them."""
    content = json.dumps(values).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(_PLACE)
        member.size, member.mode = len(content), 0o600
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _engine_settings(gateway: str) -> dict[str, Any]:
    """Settings of an engine on a host: a registry of ours at the gateway speaks plain HTTP, whatever its port.

    Containers on a host cannot use its own resolver, which is the engine's of this computer.
    """
    settings: dict[str, Any] = {"insecure-registries": [f"{gateway}/32"]}
    if servers := nameservers():
        settings["dns"] = servers
    return settings


def nameservers(files: Sequence[Path] = _RESOLVERS) -> list[str]:
    """The name servers of this computer that containers reach, from the first of ``files`` that names any."""
    for file in files:
        try:
            fields = [line.split() for line in file.read_text().splitlines()]
        except OSError:
            continue
        named = [words[1] for words in fields if len(words) > 1 and words[0] == "nameserver"]
        if servers := [one for one in named if not one.startswith("127.") and ":" not in one]:
            return servers
    return []


def _proxy_exceptions(network: Mapping[str, str], spec: HostSpec, tether: LivenessEndpoint) -> dict[str, str]:
    """Keep traffic to this cloud off the owner's proxy."""
    around = ",".join(filter(None, [network.get("NO_PROXY") or network.get("no_proxy"), tether.host, spec.address]))
    return {"NO_PROXY": around, "no_proxy": around}
