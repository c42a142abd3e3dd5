"""Instance metadata service, version 2.

EC2 serves it on a link-local address that each instance resolves to its own service. Docker hosts direct that address
here, where the instance is identified by the address of the client. Hosts on loopback share one network, so each
instance has a path instead, ``/_imds/<instance-id>/``; AWS libraries on a host read it from the variable
``AWS_EC2_METADATA_SERVICE_ENDPOINT``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws.wsgi import Application, Environ, StartResponse, send_response
from localcloud.core.addresses import METADATA_ADDRESS
from localcloud.core.clock import Clock
from localcloud.core.urls import METADATA

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.aws.identity import RoleSessions
    from localcloud.ec2.lifecycle import TrackedInstance

TOKEN_HEADER = "HTTP_X_AWS_EC2_METADATA_TOKEN"
TTL_HEADER = "HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS"
# EC2 accepts token lifetimes up to six hours.
_LONGEST_TTL_S = 21600
# Versions in the order in which EC2 lists them; contents do not differ between them here.
_VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19"),
    *("2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03"),
    *("2021-03-23", "2021-07-15", "2022-09-24", "latest"),
)


@dataclass(frozen=True)
class Response:
    """An HTTP response: status line, body and extra headers."""

    status: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


_NOT_FOUND = Response("404 Not Found", b"Not Found")
_NO_TOKEN = Response("401 Unauthorized", b"Unauthorized")


@dataclass(frozen=True)
class Instances:
    """Access to the instances of a cloud.

    :param find: returns the running instance with an id, or None.
    :param id_at: returns the id of the running instance with a private address; empty if there is none.
    :param user_data: returns the user data of an instance, decoded; empty without any.
    """

    find: Callable[[str], TrackedInstance | None]
    id_at: Callable[[str], str]
    user_data: Callable[[TrackedInstance], bytes]


class MetadataService:
    """Metadata of all instances.

    :param sessions: issues role credentials.
    :param clock: dates tokens.
    """

    def __init__(self, instances: Instances, sessions: RoleSessions, clock: Clock) -> None:
        self._instances, self._sessions, self._clock = instances, sessions, clock
        self._key = secrets.token_bytes(32)

    def respond(self, method: str, path: str, headers: Mapping[str, Any]) -> Response:
        """Answer one request.

        :param path: begins with ``METADATA``.
        :param headers: the WSGI environment.
        """
        instance_id, _, rest = path.removeprefix(METADATA).partition("/")
        tracked = self._instances.find(instance_id)
        if tracked is None:
            return _NOT_FOUND
        if tracked.instance.metadata_options.http_endpoint == "disabled":
            return Response("403 Forbidden", b"Forbidden")
        if rest == "latest/api/token":
            return self._issue_token(method, instance_id, str(headers.get(TTL_HEADER, "")))
        if not self._valid(instance_id, str(headers.get(TOKEN_HEADER, ""))):
            return _NO_TOKEN
        return self._read(tracked, rest)

    def path(self, environ: Environ) -> str | None:
        """Return the path of a request for metadata, which begins with ``METADATA``; None for any other request."""
        path = str(environ["PATH_INFO"])
        if environ.get("HTTP_HOST") == METADATA_ADDRESS:
            return f"{METADATA}{self._instances.id_at(str(environ.get('REMOTE_ADDR')))}{path}"
        return path if path.startswith(METADATA) else None

    def _issue_token(self, method: str, instance_id: str, ttl: str) -> Response:
        if method != "PUT":
            return Response("405 Method Not Allowed", b"Method Not Allowed")
        if not ttl.isdigit() or not 1 <= int(ttl) <= _LONGEST_TTL_S:
            return Response("400 Bad Request", b"Bad Request")
        token = self._sign(instance_id, str(int(self._clock.now()) + int(ttl)))
        return Response("200 OK", token.encode(), (("X-aws-ec2-metadata-token-ttl-seconds", ttl),))

    def _sign(self, instance_id: str, until: str) -> str:
        # Signed tokens need no store, and a token of one instance is invalid for another.
        return f"{until}.{hmac.new(self._key, f'{instance_id} {until}'.encode(), hashlib.sha256).hexdigest()}"

    def _valid(self, instance_id: str, token: str) -> bool:
        until = token.partition(".")[0]
        return (
            until.isdigit()
            and int(until) > self._clock.now()
            and hmac.compare_digest(token.encode(), self._sign(instance_id, until).encode())
        )

    def _read(self, tracked: TrackedInstance, path: str) -> Response:
        version, *parts = [part for part in path.split("/") if part] or [""]
        if not version:
            return Response("200 OK", "\n".join(_VERSIONS).encode())
        if version not in _VERSIONS:
            return _NOT_FOUND
        if parts == ["user-data"]:
            return Response("200 OK", data) if (data := self._instances.user_data(tracked)) else _NOT_FOUND
        if parts == ["meta-data", "public-keys"] and tracked.authorized_keys:
            return Response("200 OK", f"0={tracked.instance.key_name}".encode())
        return _read_node(self._tree(tracked), parts)

    def _tree(self, tracked: TrackedInstance) -> dict[str, Any]:
        instance, data = tracked.instance, _meta_data(tracked.instance)
        if tracked.authorized_keys:
            data["public-keys"] = {"0": {"openssh-key": tracked.authorized_keys[0]}}
        for path, notice in tracked.notices.items():
            _put(data, path.split("/"), notice)
        role = self._sessions.role_of(instance)
        if profile := self._sessions.profile_of(instance):
            info = {"Code": "Success", **profile}
            data["iam"] = {"info": json.dumps(info), "security-credentials": {}}
        if role:
            # A function, because reading the path creates credentials.
            data["iam"]["security-credentials"] = {role: lambda: json.dumps(self._sessions.credentials(instance))}
        return {"meta-data": data, "dynamic": {"instance-identity": {"document": json.dumps(_document(instance))}}}


def _read_node(node: Any, path: list[str]) -> Response:
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if node is None:
        return _NOT_FOUND
    if isinstance(node, dict):
        names = (f"{name}/" if isinstance(below, dict) else name for name, below in node.items())
        return Response("200 OK", "\n".join(names).encode())
    return Response("200 OK", str(node() if callable(node) else node).encode())


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def serve(inner: Application, service: MetadataService, lock: threading.RLock) -> Application:
    """Answer the metadata paths; a wrapper for the chain of ``localcloud.aws.wsgi``."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Without the lock: other requests must not wait for one that holds it.
        path = service.path(environ)
        if path is None:
            return inner(environ, start_response)
        with lock:
            response = service.respond(environ["REQUEST_METHOD"], path, environ)
        return send_response(
            start_response, response.status, response.body, ("Content-Type", "text/plain"), *response.headers
        )

    return application


def user_data(instance: Instance) -> bytes:
    """Return an instance's user data, decoded; empty without any."""
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
        "network": {"interfaces": {"macs": {instance.nics[0].mac_address: _interface(instance)}}},
        "placement": {"availability-zone": zone, "region": region},
        "reservation-id": _reservation(instance),
        "security-groups": "\n".join(group.name for group in instance.security_groups),
    }
    if instance.public_ip:
        data |= {"public-ipv4": instance.public_ip}
    return data


def _interface(instance: Instance) -> dict[str, Any]:
    """Return the metadata of the network interface of an instance."""
    interface, subnet = instance.nics[0], instance.ec2_backend.get_subnet(instance.subnet_id)
    groups = instance.security_groups
    data: dict[str, Any] = {
        "device-number": 0,
        "interface-id": interface.id,
        "local-hostname": instance.private_dns_name,
        "local-ipv4s": instance.private_ip,
        "mac": interface.mac_address,
        "owner-id": instance.owner_id,
        "security-group-ids": "\n".join(group.id for group in groups),
        "security-groups": "\n".join(group.name for group in groups),
        "subnet-id": subnet.id,
        "subnet-ipv4-cidr-block": subnet.cidr_block,
        "vpc-id": subnet.vpc_id,
        "vpc-ipv4-cidr-block": instance.ec2_backend.get_vpc(subnet.vpc_id).cidr_block,
    }
    if instance.public_ip:
        data |= {"ipv4-associations": {instance.public_ip: instance.private_ip}, "public-ipv4s": instance.public_ip}
    return data


def _reservation(instance: Instance) -> str:
    reservations = instance.ec2_backend.reservations.values()
    return next((reservation.id for reservation in reservations if instance in reservation.instances), "")


def _document(instance: Instance) -> dict[str, Any]:
    """Return the instance identity document, unsigned."""
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
