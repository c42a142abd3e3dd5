"""Who calls: the researcher with a key pair of the environment's, and machines with the role of their instance.

Nothing is secret here: the keys open a cloud that only this machine reaches.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.sts.models import AssumedRole, sts_backends

from localcloud.aws.error_responses import bad_keys, denied
from localcloud.aws.wsgi import ACTION, REGION, SERVICE, Environ

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

USER, ROLE = "researcher", "rehearsal"
# Twenty capitals, as real key ids are, and the same at every start: a shell keeps working after a restart.
ACCESS_KEY_ID = "LOCALCLOUDRESEARCHER"
SECRET_ACCESS_KEY = "rehearsal-only-opens-nothing"
_SESSION = timedelta(hours=6)
_RENEW_BEFORE = timedelta(minutes=15)


def seed() -> None:
    """Make the user, and the role with the instance profile of the same name."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user("us-west-2", USER)
    key = iam.create_access_key(USER)
    del iam.access_keys[key.access_key_id]
    key.access_key_id, key.secret_access_key = ACCESS_KEY_ID, SECRET_ACCESS_KEY
    iam.access_keys[ACCESS_KEY_ID] = key
    iam.create_role(ROLE, json.dumps(_trust()), "/", None, "What rehearsal machines may do", [], "3600")
    iam.create_instance_profile(ROLE, "/", [ROLE])


def _trust() -> dict[str, Any]:
    who = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [who]}


def authorize(environ: Environ) -> None:
    """Ask moto whether policies allow a call, if it looks at policies at all; for services that are not moto's.

    :raises Refusal: they do not, or the key is not known.
    """
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin
    from moto.iam.access_control import IAMRequest
    from werkzeug.exceptions import HTTPException

    if ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        return
    headers = {"Authorization": environ["HTTP_AUTHORIZATION"]}
    if token := environ.get("HTTP_X_AMZ_SECURITY_TOKEN"):
        headers["X-Amz-Security-Token"] = token
    facts = {"method": "POST", "path": "/", "data": {}, "body": b"", "headers": headers, "action": environ[ACTION]}
    try:
        IAMRequest(account_id=DEFAULT_ACCOUNT_ID, **facts).check_action_permitted("*")
    except HTTPException as error:
        who = re.search(r"User: (arn:\S+)", str(getattr(error, "message", "")))
        if who is None:
            raise bad_keys(environ[SERVICE]) from error
        named = {"who": who[1], "region": environ[REGION]}
        raise denied(environ[SERVICE], environ[ACTION], by="policy", **named) from error


@dataclass(frozen=True)
class _Session:
    role: AssumedRole
    created_at: datetime


class RoleSessions:
    """The role credentials of instances: one set each, renewed before they run out."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def role_of(self, instance: Instance) -> str | None:
        """The role's name; None for an instance without a profile, or one whose profile has no role."""
        profile = self._profile(instance)
        return profile.roles[0].name if profile is not None and profile.roles else None

    def profile_of(self, instance: Instance) -> dict[str, str] | None:
        """The profile's ARN and id, as the metadata service words them."""
        profile = self._profile(instance)
        return {"InstanceProfileArn": profile.arn, "InstanceProfileId": profile.id} if profile is not None else None

    def credentials(self, instance: Instance) -> dict[str, str]:
        """Keys of the instance's role, in the form that the metadata service gives them."""
        session = self._sessions.get(instance.id)
        if session is None or session.role.expiration - utcnow() < _RENEW_BEFORE:
            self.drop(instance.id)
            session = self._sessions[instance.id] = self._assume(instance)
        role, when = session.role, "%Y-%m-%dT%H:%M:%SZ"
        keys = {"AccessKeyId": role.access_key_id, "SecretAccessKey": role.secret_access_key}
        times = {"LastUpdated": f"{session.created_at:{when}}", "Expiration": f"{role.expiration:{when}}"}
        return {"Code": "Success", "Type": "AWS-HMAC", **keys, "Token": role.session_token, **times}

    def drop(self, instance_id: str) -> None:
        """Forget an instance's keys; they open nothing any more."""
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
