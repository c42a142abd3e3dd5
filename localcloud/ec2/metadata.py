"""The instance metadata service, version 2: what a machine may ask about itself.

EC2 serves it on a link-local address that means another machine on each machine. Loopback hosts share one network, so
each instance has a path instead, ``/_imds/<instance-id>/``, which the AWS libraries on its host are told by the
variable ``AWS_EC2_METADATA_SERVICE_ENDPOINT``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws.wsgi import Application, Environ, StartResponse, send_response
from localcloud.core.urls import METADATA

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.aws.identity import RoleSessions
    from localcloud.ec2.lifecycle import TrackedInstance

TOKEN_HEADER = "HTTP_X_AWS_EC2_METADATA_TOKEN"
TTL_HEADER = "HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS"
# Six hours is the longest that EC2 gives a token.
_LONGEST_TTL_S = 21600


@dataclass(frozen=True)
class Response:
    """An HTTP answer: status line, body, and extra headers."""

    status: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


_NOT_FOUND = Response("404 Not Found", b"Not Found")
_NO_TOKEN = Response("401 Unauthorized", b"Unauthorized")


class MetadataService:
    """Answers for all instances.

    :param find: the machine with an id; None when there is none, or it does not run.
    :param sessions: gives out role credentials.
    """

    def __init__(self, find: Callable[[str], TrackedInstance | None], sessions: RoleSessions) -> None:
        self._find, self._sessions = find, sessions
        self._key = secrets.token_bytes(32)

    def respond(self, method: str, path: str, headers: Mapping[str, Any]) -> Response:
        """Answer one request; ``path`` begins with ``METADATA``, ``headers`` are those of WSGI."""
        instance_id, _, rest = path.removeprefix(METADATA).partition("/")
        machine = self._find(instance_id)
        if machine is None:
            return _NOT_FOUND
        if machine.instance.metadata_options.http_endpoint == "disabled":
            return Response("403 Forbidden", b"Forbidden")
        if rest == "latest/api/token":
            return self._issue_token(method, instance_id, str(headers.get(TTL_HEADER, "")))
        if not self._valid(instance_id, str(headers.get(TOKEN_HEADER, ""))):
            return _NO_TOKEN
        return self._read(machine, rest.removeprefix("latest/"))

    def _issue_token(self, method: str, instance_id: str, ttl: str) -> Response:
        if method != "PUT":
            return Response("405 Method Not Allowed", b"Method Not Allowed")
        if not ttl.isdigit() or not 1 <= int(ttl) <= _LONGEST_TTL_S:
            return Response("400 Bad Request", b"Bad Request")
        token = self._sign(instance_id, str(int(time.time()) + int(ttl)))
        return Response("200 OK", token.encode(), (("X-aws-ec2-metadata-token-ttl-seconds", ttl),))

    def _sign(self, instance_id: str, until: str) -> str:
        # A signed token needs no memory of who was given one.
        return f"{until}.{hmac.new(self._key, f'{instance_id} {until}'.encode(), hashlib.sha256).hexdigest()}"

    def _valid(self, instance_id: str, token: str) -> bool:
        until = token.partition(".")[0]
        return (
            until.isdigit()
            and int(until) > time.time()
            and hmac.compare_digest(token.encode(), self._sign(instance_id, until).encode())
        )

    def _read(self, machine: TrackedInstance, path: str) -> Response:
        if path == "user-data":
            return Response("200 OK", data) if (data := user_data(machine.instance)) else _NOT_FOUND
        found: Any = self._tree(machine)
        for part in filter(None, path.split("/")):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            return _NOT_FOUND
        if isinstance(found, dict):
            names = (f"{name}/" if isinstance(below, dict) else name for name, below in found.items())
            return Response("200 OK", "\n".join(names).encode())
        return Response("200 OK", str(found() if callable(found) else found).encode())

    def _tree(self, machine: TrackedInstance) -> dict[str, Any]:
        instance, data = machine.instance, _meta_data(machine.instance)
        for path, notice in machine.notices.items():
            _put(data, path.split("/"), notice)
        role = self._sessions.role_of(instance)
        if profile := self._sessions.profile_of(instance):
            info = {"Code": "Success", **profile}
            data["iam"] = {"info": json.dumps(info), "security-credentials": {}}
        if role:
            # A thunk: only who asks for keys is given some.
            data["iam"]["security-credentials"] = {role: lambda: json.dumps(self._sessions.credentials(instance))}
        return {"meta-data": data, "dynamic": {"instance-identity": {"document": json.dumps(_document(instance))}}}


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def serve(below: Application, metadata: MetadataService, lock: threading.RLock) -> Application:
    """Answer the paths of the service; a wrapper for the chain of ``localcloud.aws.wsgi``."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(METADATA):
            return below(environ, respond)
        with lock:
            answer = metadata.respond(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ)
        return send_response(respond, answer.status, answer.body, ("Content-Type", "text/plain"), *answer.headers)

    return application


def user_data(instance: Instance) -> bytes:
    """The instance's user data, decoded; empty when it has none."""
    return base64.b64decode(str(instance.user_data)) if instance.user_data else b""


def _meta_data(instance: Instance) -> dict[str, Any]:
    zone, region = str(instance.placement.zone), instance.region_name
    data: dict[str, Any] = {
        "ami-id": instance.image_id,
        "ami-launch-index": instance.ami_launch_index,
        "hostname": instance.private_dns_name,
        "instance-id": instance.id,
        "instance-life-cycle": instance.lifecycle or "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": instance.nics[0].mac_address,
        "placement": {"availability-zone": zone, "region": region},
        "reservation-id": _reservation(instance),
        "security-groups": "\n".join(group.name for group in instance.security_groups),
    }
    if instance.public_ip:
        data |= {"public-ipv4": instance.public_ip}
    return data


def _reservation(instance: Instance) -> str:
    reservations = instance.ec2_backend.reservations.values()
    return next((one.id for one in reservations if instance in one.instances), "")


def _document(instance: Instance) -> dict[str, Any]:
    """The instance identity document (unsigned)."""
    return {
        "accountId": instance.owner_id,
        "architecture": instance.architecture,
        "availabilityZone": instance.placement.zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}",
        "privateIp": instance.private_ip,
        "region": instance.region_name,
        "version": "2017-09-30",
    }
