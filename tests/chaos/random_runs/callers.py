"""Identity of the user in a random run: an IAM user, or sessions of a role that a colleague has, too."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, repeat

from localcloud.simulation.cloud import InMemoryCloud
from tests.chaos.invariants import ACCOUNT, COLLEAGUE_ID, OUR_ROLE, OUR_SESSION, SSO_ROLE

Keys = tuple[str, str]

SESSIONS = (
    ("botocore-session-1763648000", "botocore-session-1763648111", "botocore-session-1763648222"),
    ("build-1", "build-2", "build-3"),
    ("AWSCLI-Session",),
)
"""Names of a role's sessions, which each process takes in turn."""

SET_ID = "lab-ada"
"""Owner id in the settings of every computer."""


@dataclass(frozen=True)
class Caller:
    """The user's credentials and owner id.

    :param role: empty for an IAM user.
    :param sessions: names of its sessions.
    :param owner_id: in the settings from the beginning; empty for those that are kept on the computers.
    :param moved_before: index of the step before which the first computer's id is entered in the settings of all; 0 for
        none.
    :param has_untagged_colleague: True if the colleague's version tags no owner id.
    :param by_name: True if VMs of an id that this computer does not have are terminated by ``TerminateAll(owner=...)``;
        False if that id is entered in the settings.
    """

    role: str = ""
    sessions: tuple[str, ...] = ()
    owner_id: str = ""
    moved_before: int = 0
    has_untagged_colleague: bool = False
    by_name: bool = False

    def colleague_tags(self) -> dict[str, str]:
        """Return the owner tags of another person with the same role; none for an IAM user."""
        if not self.role:
            return {}
        session = "ben@example.org" if self.role == SSO_ROLE else self.sessions[0]
        tags = {"stratus:owner": f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{session}"}
        return tags if self.has_untagged_colleague else {**tags, "stratus:ownerid": COLLEAGUE_ID}

    def describe(self) -> list[str]:
        """Return the identity as text, one line each."""
        lines = [f"role {self.role}, sessions {' '.join(self.sessions)}"] if self.role else []
        lines += [f"owner id {self.owner_id}"] if self.owner_id else []
        return [*lines, *([f"owner id moved before step {self.moved_before}"] if self.moved_before else [])]


def draw(seed: int, steps: int) -> Caller:
    """Return the identity of a seed.

    :param steps: number of the run's steps.
    """
    # Apart from the other generators, whose draws stay as they were.
    chance = random.Random(f"caller/{seed}")
    if chance.random() < 0.65:
        return Caller()
    if chance.random() < 0.2:
        return Caller(SSO_ROLE, (OUR_SESSION,))
    way = chance.choice(("kept", "kept", "moved", "set"))
    return Caller(
        OUR_ROLE,
        chance.choice(SESSIONS),
        SET_ID if way == "set" else "",
        chance.randint(1, steps - 1) if way == "moved" else 0,
        has_untagged_colleague=chance.random() < 0.3,
        by_name=chance.random() < 0.5,
    )


def credentials(cloud: InMemoryCloud, caller: Caller) -> Iterator[Keys | None]:
    """Return the keys of each process of the user in turn; None for those of the IAM user."""
    if not caller.role:
        return repeat(None)
    iam, sts = cloud.session().client("iam"), cloud.session().client("sts")
    if caller.role not in [item["RoleName"] for item in iam.list_roles()["Roles"]]:
        iam.create_role(RoleName=caller.role, AssumeRolePolicyDocument="{}")
    arn = f"arn:aws:iam::{ACCOUNT}:role/{caller.role}"
    answers = [sts.assume_role(RoleArn=arn, RoleSessionName=name)["Credentials"] for name in caller.sessions]
    return cycle([(answer["AccessKeyId"], answer["SecretAccessKey"]) for answer in answers])
