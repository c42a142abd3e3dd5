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
from orchestrator.core.next_step import NextStep
from orchestrator.crypto import ssh_keys

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import KeyPairInfoTypeDef

    from orchestrator.config import settings


@dataclass(frozen=True)
class KeyPair:
    """A key pair: its name in EC2 and where its private half lies.

    :param own: it is the cluster's own: made, imported and deleted by us.
    """

    key_name: str
    key_file: Path
    is_own: bool


def for_settings(settings: settings.Settings, cluster_id: identity.ClusterId, *, home: Path) -> KeyPair:
    """Return which key opens the cluster's machines; asks nobody.

    :param home: the folder of everything we keep; own keys lie in its ``keys``.
    :raises UsageError: a key pair is named without the file of its private key.
    """
    if not settings.aws.key_name:
        return own_key_pair(cluster_id, home=home)
    if not str(settings.ssh.private_key or ""):
        raise UsageError(
            f"[aws] key_name = {settings.aws.key_name} names a key pair, but not where its private key lies",
            fix="set [ssh] private_key to the file; or leave key_name empty, and one is made for the cluster",
        )
    return KeyPair(settings.aws.key_name, Path(settings.ssh.private_key).expanduser(), is_own=False)


def own_key_pair(cluster_id: identity.ClusterId, *, home: Path) -> KeyPair:
    """Return the cluster's own key pair, whether it is in use or not."""
    return KeyPair(
        cluster_id.resource_name, home / "keys" / f"{cluster_id.resource_name}-{cluster_id.region}.ed25519", is_own=True
    )


def ensure(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    key_pair: KeyPair,
    *,
    journal: Journal,
    existing_names: Sequence[str] = (),
) -> None:
    """Make sure that EC2 holds the public half of the private key that lies here.

    :param living: names of machines that were launched with this key pair and still exist.
    :raises UsageError: it holds another one, or the private key of living machines is not here.
    """
    if not key_pair.is_own:
        return _compare(clients, key_pair)
    public = _local(key_pair, existing_names)
    found = _find(clients, key_pair.key_name)
    if found is None:
        return _import(clients, cluster_id, key_pair, public, journal)
    if not cluster_id.matches(found.get("Tags", [])):
        raise _foreign(key_pair)
    if not _same(found, public):
        _refuse_when_used(key_pair, existing_names)
        with clients.translate_errors(f"replacing key pair {key_pair.key_name}"):
            clients.ec2.delete_key_pair(KeyPairId=found["KeyPairId"])
        _import(clients, cluster_id, key_pair, public, journal)


def check(
    clients: client.Clients, cluster_id: identity.ClusterId, key_pair: KeyPair, *, existing_names: Sequence[str] = ()
) -> None:
    """Find what `ensure` would refuse, or be refused; changes nothing, here or in EC2.

    :raises StratusError: as `ensure` does.
    """
    if not key_pair.is_own:
        return _compare(clients, key_pair)
    here = key_pair.key_file.exists()
    if not here and existing_names:
        raise _not_here(key_pair, existing_names)
    found = _find(clients, key_pair.key_name)
    if found is not None and not cluster_id.matches(found.get("Tags", [])):
        raise _foreign(key_pair)
    # A key that is made with the launch is as good a question as any other.
    public = ssh_keys.read_public_key(key_pair.key_file) if here else ssh_keys.generate_host_key().public
    if found is None:
        with clients.translate_errors(f"asking whether key pair {key_pair.key_name} may be imported"):
            dry_run.check(clients.ec2.import_key_pair, **_request(cluster_id, key_pair, public))
    elif here and not _same(found, public):
        _refuse_when_used(key_pair, existing_names)


def delete(clients: client.Clients, cluster_id: identity.ClusterId, key_pair: KeyPair) -> list[str]:
    """Delete the cluster's own key pair, here and in EC2; a key that the user named stays.

    :returns: names of the key pairs that were deleted in EC2.
    """
    if not key_pair.is_own:
        return []
    with clients.translate_errors(f"deleting key pair {key_pair.key_name}"):
        pairs = clients.ec2.describe_key_pairs(Filters=cluster_id.filters)["KeyPairs"]
        ours = [
            pair for pair in pairs if pair["KeyName"] == key_pair.key_name and cluster_id.matches(pair.get("Tags", []))
        ]
        for pair in ours:
            clients.ec2.delete_key_pair(KeyPairId=pair["KeyPairId"])
    key_pair.key_file.unlink(missing_ok=True)
    return [pair["KeyName"] for pair in ours]


def _local(key_pair: KeyPair, existing_names: Sequence[str]) -> str:
    """Return the public half of the key file, made when it is missing."""
    if not key_pair.key_file.exists():
        if existing_names:
            raise _not_here(key_pair, existing_names)
        with suppress(FileExistsError):  # another shell was quicker: its key is as good
            return ssh_keys.generate_login_key(key_pair.key_file)
    return ssh_keys.read_public_key(key_pair.key_file)


def _not_here(key_pair: KeyPair, existing_names: Sequence[str]) -> UsageError:
    return UsageError(
        f"the private key of {', '.join(existing_names)} is not on this computer: {key_pair.key_file} is missing",
        fix="copy it from the computer that launched them; or terminate them: " + NextStep("TerminateAll"),
    )


def _foreign(key_pair: KeyPair) -> CloudRefused:
    return CloudRefused(
        f"a key pair named {key_pair.key_name} exists, and it is not tagged as this cluster's",
        code="InvalidKeyPair.Duplicate",
        fix="delete it (aws ec2 delete-key-pair), or name your own: [aws] key_name and [ssh] private_key",
    )


def _find(clients: client.Clients, name: str) -> KeyPairInfoTypeDef | None:
    with clients.translate_errors(f"looking up key pair {name}"):
        pairs = clients.ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [name]}], IncludePublicKey=True)[
            "KeyPairs"
        ]
    return next((pair for pair in pairs if pair["KeyName"] == name), None)


def _import(
    clients: client.Clients, cluster_id: identity.ClusterId, key_pair: KeyPair, public: str, journal: Journal
) -> None:
    entry = journal.record_intent("key", name=key_pair.key_name, **cluster_id.journal_fields)
    with clients.translate_errors(f"importing key pair {key_pair.key_name}"):
        try:
            made = clients.ec2.import_key_pair(**_request(cluster_id, key_pair, public))
        except errors.error_types() as error:
            if errors.reaction(error) not in ("ambiguous", "retry"):
                journal.record_outcome(entry, refused=errors.code_of(error))
            found = _find(clients, key_pair.key_name) if errors.code_of(error) == "InvalidKeyPair.Duplicate" else None
            if found is None or not _same(found, public):
                raise
            return
    journal.record_outcome(entry, id=made.get("KeyPairId", ""))


def _request(cluster_id: identity.ClusterId, key_pair: KeyPair, public: str) -> dict[str, Any]:
    return {
        "KeyName": key_pair.key_name,
        "PublicKeyMaterial": public.encode(),
        "TagSpecifications": [{"ResourceType": "key-pair", "Tags": cluster_id.tags}],
    }


def _compare(clients: client.Clients, key_pair: KeyPair) -> None:
    """Compare a key that the user named with EC2's: the API itself never says that they differ."""
    public = ssh_keys.read_public_key(key_pair.key_file)
    found = _find(clients, key_pair.key_name)
    if found is None:
        raise UsageError(
            f"there is no key pair {key_pair.key_name} in {clients.region}",
            code="InvalidKeyPair.NotFound",
            fix="correct [aws] key_name; or leave it empty, and one is made for the cluster",
        )
    if not _same(found, public):
        raise UsageError(
            f"{key_pair.key_file} is not the private key of key pair {key_pair.key_name}: "
            f"it is {ssh_keys.fingerprint(public)}, "
            f"EC2 holds {ssh_keys.fingerprint(found['PublicKey'])}",
            fix="correct [ssh] private_key or [aws] key_name; or leave key_name empty, and one is made for the cluster",
        )


def _same(pair: KeyPairInfoTypeDef, public: str) -> bool:
    theirs = pair.get("PublicKey", "").split()[:2]
    return not theirs or theirs == public.split()[:2]  # EC2 keeps no public half of some very old pairs


def _refuse_when_used(key_pair: KeyPair, existing_names: Sequence[str]) -> None:
    if existing_names:
        raise UsageError(
            f"{', '.join(existing_names)} were launched with another key than {key_pair.key_file}",
            fix="copy that key from the computer that launched them; or terminate them: " + NextStep("TerminateAll"),
        )
