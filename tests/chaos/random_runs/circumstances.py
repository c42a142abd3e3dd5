"""Circumstances of a random run: what the user's account, computers and settings are like, apart from faults of AWS."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from localcloud.scenarios.scenario import Fault, make_fault

EDITS = {
    "name": ("name = ml\n", "name = renamed\n"),
    "owner": ("name = ml\n", "name = ml\nowner = team\n"),
    "region": ("region = us-west-2\n", "region = eu-west-1\n"),
}
"""Setting -> its line in the config before and after the edit."""

DAMAGES = ("a file", "nowhere", "journal is a folder", "journal is damaged")

LIES = (
    "",
    "@@until 99999999999999999999 0 0 0\n",
    "@@until 2000000000 -1 x\n@@current ssh-ed25519 \x1b[2J\n",
    "@@current \n@@staged \n@@none\n",
    "@@until \u202e9 0 0 0\r\n" * 1000,
)
"""Output of a host that answers every command of Stratus with it."""


@dataclass(frozen=True)
class Circumstances:
    """Circumstances of one run, each of them independent of the others.

    :param named_group: True if the settings name a security group of the user.
    :param denied: action that the account does not permit beside it; empty for none.
    :param edit: setting that is edited; empty for none.
    :param edit_before: index of the step before which it is edited.
    :param damage: of the home folder; empty for none.
    :param damage_before: index of the step before which the damage occurs.
    :param other_computer: indices of the steps on the user's second computer.
    :param lie: output of every host; None for honest hosts.
    :param reboots: faults that reboot VMs.
    """

    named_group: bool
    denied: str
    edit: str
    edit_before: int
    damage: str
    damage_before: int
    other_computer: frozenset[int]
    lie: str | None
    reboots: tuple[Fault, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the cloud that belong to the circumstances."""
        denied = (make_fault("denied", action=self.denied),) if self.denied else ()
        return (*denied, *self.reboots)

    def describe(self) -> list[str]:
        """Return the circumstances as text, one line each."""
        lines = [f"a named security group, denied: {self.denied or 'nothing'}"] if self.named_group else []
        lines += [f"{self.edit} edited before step {self.edit_before}"] if self.edit else []
        lines += [f"home: {self.damage} before step {self.damage_before}"] if self.damage else []
        lines += [f"step {step} on the other computer" for step in sorted(self.other_computer)]
        lines += [f"hosts answer {self.lie[:60]!r}"] if self.lie is not None else []
        return [*lines, *(f"reboot {fault.when}" for fault in self.reboots)]


def draw(seed: int, steps: int) -> Circumstances:
    """Return the circumstances of a seed.

    :param steps: number of the run's steps.
    """
    # Apart from the generator of the plan, whose draws stay as they were.
    chance = random.Random(f"circumstances/{seed}")
    named = chance.random() < 0.4
    denied = chance.choice(("", "", "CreateSecurityGroup", "RevokeSecurityGroupEgress"))
    edit = chance.choice((*EDITS, *[""] * 6))
    damage = chance.choice((*DAMAGES, *[""] * 12))
    reboots = chance.choice((0, 0, 0, 1, 2, 3))
    return Circumstances(
        named,
        denied if named else "",
        edit,
        chance.randint(1, steps - 1),
        damage,
        chance.randint(1, steps - 1),
        frozenset(step for step in range(steps) if chance.random() < 0.5) if chance.random() < 0.3 else frozenset(),
        chance.choice(LIES) if chance.random() < 0.1 else None,
        tuple(_reboot(chance) for _ in range(reboots)),
    )


def _reboot(chance: random.Random) -> Fault:
    where = chance.choice(("host 0", "host 1", "hosts 0-3"))
    return make_fault("host-reboots", where=where, when=f"{chance.choice((90, 600, 3000, 3540, 7100))} s after launch")


def damage_home(home: Path, damage: str) -> None:
    """Damage a home folder, so that journal and locks cannot be used."""
    if damage in ("a file", "nowhere"):
        shutil.rmtree(home, ignore_errors=True)
    if damage == "a file":
        home.write_text("not a folder\n")
    elif damage == "nowhere":
        home.symlink_to("/proc/nothing/here")
    else:
        home.mkdir(exist_ok=True)
        journal = home / "journal.jsonl"
        journal.unlink(missing_ok=True)
        if damage == "journal is a folder":
            journal.mkdir()
        else:
            journal.write_bytes(b'\xff\0\n{"id": 1}\n[[[[\n')


def repair_home(home: Path) -> None:
    """Put an empty folder in the place of a damaged home."""
    if home.is_dir() and not home.is_symlink():
        shutil.rmtree(home)
    else:
        home.unlink(missing_ok=True)
    home.mkdir()
