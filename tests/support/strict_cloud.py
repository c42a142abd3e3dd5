"""A cloud that looks at policies: whoever uses the toolkit may do what docs/iam-policy.json says, and nothing else."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.support.embedded_cloud import boto
from tests.support.iam_policy import Policy

ROLE = "rehearsal"
KEYS = {"AWS_ACCESS_KEY_ID": "TESTS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY": "TESTS_SECRET_ACCESS_KEY"}


def enforce(env: dict[str, str]) -> dict[str, str]:
    """Let a cloud look at policies from now on; its own researcher, with whose keys tests look at it, may do all.

    :return: ``env`` with the keys of a user beside the researcher's, to whom our policy applies.
    """
    iam = boto(env, "iam")
    iam.put_user_policy(UserName="researcher", PolicyName="all", PolicyDocument=_allowing("*"))
    iam.put_role_policy(RoleName=ROLE, PolicyName="s3", PolicyDocument=_allowing("s3:*"))
    iam.create_user(UserName="stratus")
    iam.put_user_policy(UserName="stratus", PolicyName="stratus", PolicyDocument=Policy.load().without_conditions())
    key = iam.create_access_key(UserName="stratus")["AccessKey"]
    # The number of calls that moto lets pass before it looks.
    address, plain = env["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(address, b"0", plain, method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
    # Such a cloud refuses a stale session token of the shell's, as AWS does; others do not look at it.
    ours = {"TESTS_ACCESS_KEY_ID": key["AccessKeyId"], "TESTS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return {**env, **ours, "AWS_SESSION_TOKEN": ""}


def as_user(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of the user to whom our policy applies; ``env`` itself when its cloud looks at none."""
    return {**env, **{name: env[other] for name, other in KEYS.items() if other in env}}


def _allowing(action: str) -> str:
    allowed: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
