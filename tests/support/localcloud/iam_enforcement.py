"""Enforcement of IAM policies on the embedded cloud: the toolkit's user may do what the policies in docs/ allow."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.aws.iam_policy import DISKS_POLICY, POLICY, SAGEMAKER_POLICY, Policy
from tests.support.localcloud.clients import boto

ROLE = "rehearsal"
KEYS = {"AWS_ACCESS_KEY_ID": "TESTS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY": "TESTS_SECRET_ACCESS_KEY"}


def enforce(env: dict[str, str], *policies: Path) -> dict[str, str]:
    """Make a cloud enforce policies from now on; its own user, whose keys tests use, may do everything.

    :param policies: files of the policies; by default all of them.
    :return: ``env`` with the keys of a second user, to whom they apply.
    """
    iam = boto(env, "iam")
    iam.put_user_policy(UserName="researcher", PolicyName="all", PolicyDocument=_allowing("*"))
    iam.put_role_policy(RoleName=ROLE, PolicyName="s3", PolicyDocument=_allowing("s3:*"))
    iam.create_user(UserName="stratus")
    policy = Policy.load(*(policies or (POLICY, SAGEMAKER_POLICY, DISKS_POLICY)))
    iam.put_user_policy(UserName="stratus", PolicyName="stratus", PolicyDocument=policy.without_conditions())
    key = iam.create_access_key(UserName="stratus")["AccessKey"]
    # Sets the number of calls that moto allows before it enforces policies.
    address, plain = env["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(address, b"0", plain, method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
    # A cloud that enforces policies refuses a stale session token of the shell, as AWS does.
    ours = {"TESTS_ACCESS_KEY_ID": key["AccessKeyId"], "TESTS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return {**env, **ours, "AWS_SESSION_TOKEN": ""}


def as_user(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the user to whom the policy applies; ``env`` itself if policies are not enforced."""
    return {**env, **{name: env[other] for name, other in KEYS.items() if other in env}}


def _allowing(action: str) -> str:
    allowed: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
