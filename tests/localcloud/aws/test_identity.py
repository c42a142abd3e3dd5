"""Roles and instance profiles where moto's IAM fails."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.simulation.cloud import InMemoryCloud


def test_a_role_that_a_profile_does_not_have_is_not_removed_from_it() -> None:
    with InMemoryCloud() as cloud:
        iam: Any = cloud.session().client("iam")
        iam.create_role(RoleName="job", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="job")
        with pytest.raises(ClientError, match=r"\(NoSuchEntity\).*role with name job cannot be found"):
            iam.remove_role_from_instance_profile(InstanceProfileName="job", RoleName="job")
