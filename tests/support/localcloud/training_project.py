"""A project that may train on the embedded cloud's SageMaker."""

from __future__ import annotations

import json

from tests.support.localcloud.clients import boto
from tests.support.project import Project

ROLE = "stratus-sagemaker-project"


def prepare(project: Project) -> Project:
    """Create an execution role, and name it in the config."""
    iam = boto(project.env, "iam")
    principal = {"Service": "sagemaker.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    if ROLE not in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=ROLE, PolicyName="data", PolicyDocument=policy)
    arn = iam.get_role(RoleName=ROLE)["Role"]["Arn"]
    project.config.write_text(f"{project.config.read_text()}[sagemaker]\nrole = {arn}\n")
    return project
