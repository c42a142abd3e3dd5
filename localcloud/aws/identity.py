"""Callers: the user with a fixed key pair, and instances with the role of their profile.

Nothing here is secret: the keys are valid for a cloud that only this computer reaches.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.iam import urls
from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, iam_backends
from moto.sts.models import AssumedRole, sts_backends

from localcloud.aws.error_responses import ApiError, bad_keys, denied
from localcloud.aws.wsgi import ACTION, REGION, SERVICE, Environ

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

USER, ROLE = "researcher", "rehearsal"
# Twenty capitals like real key ids, and the same at every start, so that a shell keeps working after a restart.
ACCESS_KEY_ID = "LOCALCLOUDRESEARCHER"
SECRET_ACCESS_KEY = "rehearsal-only-opens-nothing"
_SESSION = timedelta(hours=6)
_RENEW_BEFORE = timedelta(minutes=15)


class Iam(IAMBackend):
    """moto's IAM, which fails where AWS refuses."""

    # moto looks for it beside the module of the class.
    _url_module = urls

    def remove_role_from_instance_profile(self, profile_name: str, role_name: str) -> None:
        """Remove a role, which the profile must have."""
        if self.get_role(role_name) not in self.get_instance_profile(profile_name).roles:
            raise NotFoundException(f"The role with name {role_name} cannot be found.")
        super().remove_role_from_instance_profile(profile_name, role_name)


def seed() -> None:
    """Create the user, and the role with the instance profile of the same name."""
    backends: Any = iam_backends
    backends.backend = Iam
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user("us-west-2", USER)
    key = iam.create_access_key(USER)
    # moto generates random keys; clients need fixed ones.
    del iam.access_keys[key.access_key_id]
    key.access_key_id, key.secret_access_key = ACCESS_KEY_ID, SECRET_ACCESS_KEY
    iam.access_keys[ACCESS_KEY_ID] = key
    iam.create_role(ROLE, json.dumps(_trust()), "/", None, "Permissions of embedded instances", [], "3600")
    iam.create_instance_profile(ROLE, "/", [ROLE])


def _trust() -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def authorize(environ: Environ) -> None:
    """Check a call of a service that moto lacks against IAM policies, if moto enforces them.

    :raises ApiError: the policies deny it, or the key is unknown.
    """
    check_permission(environ, f"{environ[SERVICE]}:{environ[ACTION]}", "*")


def check_permission(environ: Environ, permission: str, resource: str) -> None:
    """Check that the caller may do something with a resource, if moto enforces policies.

    :param permission: such as ``iam:PassRole``.
    :raises ApiError: the policies deny it, or the key is unknown.
    """
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.iam.access_control import IAMRequest
    from werkzeug.exceptions import HTTPException

    # moto enforces policies only after this many calls, and tests lower the number.
    if ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        return
    headers = {"Authorization": environ["HTTP_AUTHORIZATION"]}
    if token := environ.get("HTTP_X_AMZ_SECURITY_TOKEN"):
        headers["X-Amz-Security-Token"] = token
    request = {"method": "POST", "path": "/", "data": {}, "body": b"", "headers": headers, "action": environ[ACTION]}
    try:
        iam_request: Any = IAMRequest(account_id=DEFAULT_ACCOUNT_ID, **request)
        # moto derives it from the service of the signature.
        iam_request._action = permission
        iam_request.check_action_permitted(resource)
    except HTTPException as error:
        caller = re.search(r"User: (arn:\S+)", str(getattr(error, "message", "")))
        if caller is None:
            raise bad_keys(environ[SERVICE]) from error
        if permission == "iam:PassRole":
            message = (
                f"User: {caller[1]} is not authorized to perform: {permission} on resource: {resource} because no "
                f"identity-based policy allows the {permission} action"
            )
            raise ApiError("AccessDeniedException", message) from error
        action = permission.partition(":")[2]
        raise denied(environ[SERVICE], action, by="policy", region=environ[REGION], caller_arn=caller[1]) from error


@dataclass(frozen=True)
class _Session:
    role: AssumedRole
    created_at: datetime


class RoleSessions:
    """Role credentials of instances: one set each, renewed before they expire."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def role_of(self, instance: Instance) -> str | None:
        """Return the role's name; None for an instance without a profile, or whose profile has no role."""
        profile = self._profile(instance)
        return profile.roles[0].name if profile is not None and profile.roles else None

    def profile_of(self, instance: Instance) -> dict[str, str] | None:
        """Return ARN and id of the instance's profile, with the metadata service's keys."""
        profile = self._profile(instance)
        return {"InstanceProfileArn": profile.arn, "InstanceProfileId": profile.id} if profile is not None else None

    def credentials(self, instance: Instance) -> dict[str, str]:
        """Return the credentials of the instance's role, in the format of the metadata service."""
        session = self._sessions.get(instance.id)
        # EC2 makes new credentials available at least five minutes before the old ones expire.
        if session is None or session.role.expiration - utcnow() < _RENEW_BEFORE:
            self.drop(instance.id)
            session = self._sessions[instance.id] = self._assume(instance)
        role, time_format = session.role, "%Y-%m-%dT%H:%M:%SZ"
        keys = {"AccessKeyId": role.access_key_id, "SecretAccessKey": role.secret_access_key}
        times = {"LastUpdated": f"{session.created_at:{time_format}}", "Expiration": f"{role.expiration:{time_format}}"}
        return {"Code": "Success", "Type": "AWS-HMAC", **keys, "Token": role.session_token, **times}

    def drop(self, instance_id: str) -> None:
        """Revoke an instance's credentials."""
        session = self._sessions.pop(instance_id, None)
        if session is None:
            return
        sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assumed_roles.remove(session.role)
        iam_backends[DEFAULT_ACCOUNT_ID]["aws"].access_keys.pop(session.role.access_key_id, None)

    def _profile(self, instance: Instance) -> Any:
        association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        return association.iam_instance_profile if association else None

    def _assume(self, instance: Instance) -> _Session:
        profile = self._profile(instance)
        role = sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assume_role(
            region_name=instance.region_name,
            role_session_name=instance.id,
            role_arn=profile.roles[0].arn,
            policy="",
            duration=int(_SESSION.total_seconds()),
            external_id="",
        )
        return _Session(role, utcnow())
