"""The key that opens the machines: the cluster's own, made on this computer, or one that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, errors, identity
from orchestrator.core.errors import CloudRefused, UsageError
from orchestrator.core.journal import Journal
from orchestrator.crypto import ssh_keys

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import KeyPairInfoTypeDef

    from orchestrator.config import settings


@dataclass(frozen=True)
class Login:
    """A key pair: its name in EC2 and where its private half lies.

    :param own: it is the cluster's own: made, imported and deleted by us.
    """

    key_name: str
    key_file: Path
    own: bool


def login(settings: settings.Settings, mine: identity.ClusterId, *, home: Path) -> Login:
    """Return which key opens the cluster's machines; asks nobody.

    :param home: the folder of everything we keep; own keys lie in its ``keys``.
    :raises UsageError: a key pair is named without the file of its private key.
    """
    if not settings.aws.key_name:
        return own_login(mine, home=home)
    if not str(settings.ssh.private_key or ""):
        raise UsageError(
            f"[aws] key_name = {settings.aws.key_name} names a key pair, but not where its private key lies",
            fix="set [ssh] private_key to the file; or leave key_name empty, and one is made for the cluster",
        )
    return Login(settings.aws.key_name, Path(settings.ssh.private_key).expanduser(), own=False)


def own_login(mine: identity.ClusterId, *, home: Path) -> Login:
    """Return the cluster's own key pair, whether it is in use or not."""
    return Login(mine.resource_name, home / "keys" / f"{mine.resource_name}-{mine.region}.ed25519", own=True)


def ensure(
    clients: client.Clients, mine: identity.ClusterId, login: Login, *, journal: Journal, living: Sequence[str] = ()
) -> None:
    """Make sure that EC2 holds the public half of the private key that lies here.

    :param living: names of machines that were launched with this key pair and still exist.
    :raises UsageError: it holds another one, or the private key of living machines is not here.
    """
    if not login.own:
        return _compare(clients, login)
    public = _local(login, living)
    found = _find(clients, login.key_name)
    if found is None:
        return _import(clients, mine, login, public, journal)
    if not mine.matches(found.get("Tags", [])):
        raise _foreign(login)
    if not _same(found, public):
        _refuse_when_used(login, living)
        with clients.translate_errors(f"replacing key pair {login.key_name}"):
            clients.ec2.delete_key_pair(KeyPairId=found["KeyPairId"])
        _import(clients, mine, login, public, journal)


def check(clients: client.Clients, mine: identity.ClusterId, login: Login, *, living: Sequence[str] = ()) -> None:
    """Find what `ensure` would refuse, or be refused; changes nothing, here or in EC2.

    :raises StratusError: as `ensure` does.
    """
    if not login.own:
        return _compare(clients, login)
    here = login.key_file.exists()
    if not here and living:
        raise _not_here(login, living)
    found = _find(clients, login.key_name)
    if found is not None and not mine.matches(found.get("Tags", [])):
        raise _foreign(login)
    # A key that is made with the launch is as good a question as any other.
    public = ssh_keys.public_of(login.key_file) if here else ssh_keys.host_key().public
    if found is None:
        with clients.translate_errors(f"asking whether key pair {login.key_name} may be imported"):
            dry_run.ask(clients.ec2.import_key_pair, **_request(mine, login, public))
    elif here and not _same(found, public):
        _refuse_when_used(login, living)


def delete(clients: client.Clients, mine: identity.ClusterId, login: Login) -> list[str]:
    """Delete the cluster's own key pair, here and in EC2; a key that the user named stays.

    :returns: names of the key pairs that were deleted in EC2.
    """
    if not login.own:
        return []
    with clients.translate_errors(f"deleting key pair {login.key_name}"):
        pairs = clients.ec2.describe_key_pairs(Filters=mine.filters)["KeyPairs"]
        ours = [pair for pair in pairs if pair["KeyName"] == login.key_name and mine.matches(pair.get("Tags", []))]
        for pair in ours:
            clients.ec2.delete_key_pair(KeyPairId=pair["KeyPairId"])
    login.key_file.unlink(missing_ok=True)
    return [pair["KeyName"] for pair in ours]


def _local(login: Login, living: Sequence[str]) -> str:
    """Return the public half of the key file, made when it is missing."""
    if not login.key_file.exists():
        if living:
            raise _not_here(login, living)
        with suppress(FileExistsError):  # another shell was quicker: its key is as good
            return ssh_keys.write_login_key(login.key_file)
    return ssh_keys.public_of(login.key_file)


def _not_here(login: Login, living: Sequence[str]) -> UsageError:
    return UsageError(
        f"the private key of {', '.join(living)} is not on this computer: {login.key_file} is missing",
        fix="copy it from the computer that launched them; or end them: stratus terminate",
    )


def _foreign(login: Login) -> CloudRefused:
    return CloudRefused(
        f"a key pair named {login.key_name} exists, and it is not tagged as this cluster's",
        code="InvalidKeyPair.Duplicate",
        fix="delete it (aws ec2 delete-key-pair), or name your own: [aws] key_name and [ssh] private_key",
    )


def _find(clients: client.Clients, name: str) -> KeyPairInfoTypeDef | None:
    with clients.translate_errors(f"looking up key pair {name}"):
        pairs = clients.ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [name]}], IncludePublicKey=True)[
            "KeyPairs"
        ]
    return next((pair for pair in pairs if pair["KeyName"] == name), None)


def _import(clients: client.Clients, mine: identity.ClusterId, login: Login, public: str, journal: Journal) -> None:
    entry = journal.intend("key", name=login.key_name, **mine.journal_fields)
    with clients.translate_errors(f"importing key pair {login.key_name}"):
        try:
            made = clients.ec2.import_key_pair(**_request(mine, login, public))
        except errors.error_types() as error:
            if errors.reaction(error) not in ("unsure", "again"):
                journal.settle(entry, refused=errors.code_of(error))
            found = _find(clients, login.key_name) if errors.code_of(error) == "InvalidKeyPair.Duplicate" else None
            if found is None or not _same(found, public):
                raise
            return
    journal.settle(entry, id=made.get("KeyPairId", ""))


def _request(mine: identity.ClusterId, login: Login, public: str) -> dict[str, Any]:
    return {
        "KeyName": login.key_name,
        "PublicKeyMaterial": public.encode(),
        "TagSpecifications": [{"ResourceType": "key-pair", "Tags": mine.tags}],
    }


def _compare(clients: client.Clients, login: Login) -> None:
    """Compare a key that the user named with EC2's: the API itself never says that they differ."""
    public = ssh_keys.public_of(login.key_file)
    found = _find(clients, login.key_name)
    if found is None:
        raise UsageError(
            f"there is no key pair {login.key_name} in {clients.region}",
            code="InvalidKeyPair.NotFound",
            fix="correct [aws] key_name; or leave it empty, and one is made for the cluster",
        )
    if not _same(found, public):
        raise UsageError(
            f"{login.key_file} is not the private key of key pair {login.key_name}: "
            f"it is {ssh_keys.fingerprint(public)}, "
            f"EC2 holds {ssh_keys.fingerprint(found['PublicKey'])}",
            fix="correct [ssh] private_key or [aws] key_name; or leave key_name empty, and one is made for the cluster",
        )


def _same(pair: KeyPairInfoTypeDef, public: str) -> bool:
    theirs = pair.get("PublicKey", "").split()[:2]
    return not theirs or theirs == public.split()[:2]  # EC2 keeps no public half of some very old pairs


def _refuse_when_used(login: Login, living: Sequence[str]) -> None:
    if living:
        raise UsageError(
            f"{', '.join(living)} were launched with another key than {login.key_file}",
            fix="copy that key from the computer that launched them; or end them: stratus terminate",
        )
