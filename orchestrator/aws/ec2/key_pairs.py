"""Key pair for SSH access: the cluster's own, created on this computer, or one from the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.config import settings


LAUNCH_IN_PROGRESS_S = 315.0
"""From the import of a key pair until EC2 shows the instances of its launch: the request's attempts, then the lag."""


@dataclass(frozen=True)
class KeyPair:
    """Name of a key pair in EC2, and file of its private key.

    :param is_own: True if Stratus creates, imports and deletes it; False for a key pair of the user.
    """

    key_name: str
    key_file: Path
    is_own: bool


def for_settings(settings: settings.Settings, cluster_id: identity.ClusterId, *, home: Path) -> KeyPair:
    """Return the key pair of the cluster; makes no API call.

    :param home: the folder for local state; own keys are kept in its folder ``keys``.
    :raises UsageError: the settings name a key pair without the file of its private key.
    """
    if not settings.aws.key_name:
        return own_key_pair(cluster_id, home=home)
    if not str(settings.ssh.private_key or ""):
        raise UsageError(
            f"[aws] key_name = {settings.aws.key_name} is set, but not the file of its private key",
            fix="set [ssh] private_key to the file; or leave key_name empty to have a key pair created",
        )
    return KeyPair(settings.aws.key_name, Path(settings.ssh.private_key).expanduser(), is_own=False)


def own_key_pair(cluster_id: identity.ClusterId, *, home: Path) -> KeyPair:
    """Return the cluster's own key pair, whether it is in use or not."""
    name = cluster_id.resource_name
    return KeyPair(name, own_key_file(name, cluster_id, home / "keys"), is_own=True)


def own_key_file(key_name: str, cluster_id: identity.ClusterId, folder: Path) -> Path:
    """Return the file of the private key of a key pair that Stratus created."""
    return folder / f"{key_name}-{cluster_id.region}.ed25519"


def key_file_of(instance: Instance, key_pair: KeyPair, cluster_id: identity.ClusterId) -> Path:
    """Return the file of an instance's private key.

    :param key_pair: of the cluster; an instance of an earlier session, with another ARN, may have another one.
    """
    if not key_pair.is_own or not cluster_id.is_resource_name(instance.key_name):
        return key_pair.key_file
    key_file = own_key_file(instance.key_name, cluster_id, key_pair.key_file.parent)
    return key_file if key_file.exists() else key_pair.key_file


def ensure(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    key_pair: KeyPair,
    *,
    journal: Journal,
    existing_names: Sequence[str] = (),
) -> None:
    """Make sure that EC2 holds the public key of the local private key.

    :param existing_names: of instances that were launched with this key pair and still exist.
    :raises UsageError: EC2 holds another key, or the private key of existing instances is missing.
    """
    if not key_pair.is_own:
        return _compare(clients, key_pair)
    public = _local_public_key(key_pair, existing_names)
    remote = _find(clients, key_pair.key_name)
    if remote is None:
        return _import(clients, cluster_id, key_pair, public, journal)
    if not cluster_id.matches(remote.get("Tags", [])):
        raise _foreign(key_pair)
    if not _is_same(remote, public):
        _refuse_if_used(key_pair, existing_names)
        _refuse_if_recent(clients, key_pair, remote)
        # EC2 cannot replace the key of a key pair: delete and import.
        with clients.translate_errors(f"replacing key pair {key_pair.key_name}"):
            clients.ec2.delete_key_pair(KeyPairId=remote["KeyPairId"])
        _import(clients, cluster_id, key_pair, public, journal)


def check(
    clients: client.Clients, cluster_id: identity.ClusterId, key_pair: KeyPair, *, existing_names: Sequence[str] = ()
) -> None:
    """Check that :func:`ensure` would succeed; changes nothing, locally or in EC2.

    :raises StratusError: as :func:`ensure` does.
    """
    if not key_pair.is_own:
        return _compare(clients, key_pair)
    is_local = key_pair.key_file.exists()
    if not is_local and existing_names:
        raise _missing(key_pair, existing_names)
    remote = _find(clients, key_pair.key_name)
    if remote is not None and not cluster_id.matches(remote.get("Tags", [])):
        raise _foreign(key_pair)
    # For the dry run any valid public key will do: the real one is created with the launch.
    public = ssh_keys.read_public_key(key_pair.key_file) if is_local else ssh_keys.generate_host_key().public
    if remote is None:
        with clients.translate_errors(f"checking that key pair {key_pair.key_name} can be imported"):
            dry_run.check(clients.ec2.import_key_pair, **_request(cluster_id, key_pair, public))
    elif not is_local or not _is_same(remote, public):
        _refuse_if_used(key_pair, existing_names)
        _refuse_if_recent(clients, key_pair, remote)


def delete(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    key_pair: KeyPair,
    *,
    on_problem: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Delete the cluster's own key pair, locally and in EC2; a key pair of the user is kept.

    :param on_problem: called if the private key stays on this computer; without the key pair it opens nothing.
    :returns: names of the key pairs that were deleted in EC2.
    """
    if not key_pair.is_own:
        return []
    with clients.translate_errors(f"deleting key pair {key_pair.key_name}"):
        pairs = clients.ec2.describe_key_pairs(Filters=cluster_id.filters)["KeyPairs"]
        # Not this name alone: a session with another ARN of the same owner may have imported one.
        own = {
            pair["KeyName"]: pair["KeyPairId"]
            for pair in pairs
            if cluster_id.is_resource_name(pair["KeyName"]) and cluster_id.matches(pair.get("Tags", []))
        }
        for pair_id in own.values():
            clients.ec2.delete_key_pair(KeyPairId=pair_id)
    # After EC2: if a deletion fails, the instances are still accessible.
    for name in {key_pair.key_name, *own}:
        _delete_file(own_key_file(name, cluster_id, key_pair.key_file.parent), on_problem)
    return list(own)


def _delete_file(key_file: Path, on_problem: Callable[[str], None]) -> None:
    try:
        key_file.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        on_problem(f"{key_file}: cannot be deleted: {error.strerror or error}")


def _local_public_key(key_pair: KeyPair, existing_names: Sequence[str]) -> str:
    """Return the public key of the key file, which is created if it is missing."""
    if not key_pair.key_file.exists():
        if existing_names:
            raise _missing(key_pair, existing_names)
        with suppress(FileExistsError):  # another process has just created it: use that key
            return ssh_keys.generate_login_key(key_pair.key_file)
    return ssh_keys.read_public_key(key_pair.key_file)


def _missing(key_pair: KeyPair, existing_names: Sequence[str]) -> UsageError:
    return UsageError(
        f"the private key of {', '.join(existing_names)} is not on this computer: {key_pair.key_file} is missing",
        fix="copy it from the computer that launched them; or terminate them: " + NextStep("TerminateAll"),
    )


def _foreign(key_pair: KeyPair) -> CloudRefused:
    return CloudRefused(
        f"a key pair named {key_pair.key_name} exists, and it is not tagged as this cluster's",
        code="InvalidKeyPair.Duplicate",
        fix="delete it (aws ec2 delete-key-pair), or use your own: [aws] key_name and [ssh] private_key",
    )


def _find(clients: client.Clients, name: str) -> KeyPairInfoTypeDef | None:
    with clients.translate_errors(f"looking up key pair {name}"):
        # By filter: a KeyNames argument would make a missing key pair an error.
        response = clients.ec2.describe_key_pairs(
            Filters=[{"Name": "key-name", "Values": [name]}], IncludePublicKey=True
        )
    return next((pair for pair in response["KeyPairs"] if pair["KeyName"] == name), None)


def _import(
    clients: client.Clients, cluster_id: identity.ClusterId, key_pair: KeyPair, public: str, journal: Journal
) -> None:
    entry = journal.record_intent("key", name=key_pair.key_name, **cluster_id.journal_fields)
    with clients.translate_errors(f"importing key pair {key_pair.key_name}"):
        try:
            response = clients.ec2.import_key_pair(**_request(cluster_id, key_pair, public))
        except errors.error_types() as error:
            # A request that may have been carried out stays open in the journal.
            if errors.reaction(error) not in ("ambiguous", "retry"):
                journal.record_outcome(entry, refused=errors.code_of(error))
            is_duplicate = errors.code_of(error) == "InvalidKeyPair.Duplicate"
            remote = _find(clients, key_pair.key_name) if is_duplicate else None
            if remote is None or not _is_same(remote, public):
                raise
            return
    journal.record_outcome(entry, id=response.get("KeyPairId", ""))


def _request(cluster_id: identity.ClusterId, key_pair: KeyPair, public: str) -> dict[str, Any]:
    return {
        "KeyName": key_pair.key_name,
        "PublicKeyMaterial": public.encode(),
        "TagSpecifications": [{"ResourceType": "key-pair", "Tags": cluster_id.tags}],
    }


def _compare(clients: client.Clients, key_pair: KeyPair) -> None:
    """Compare a user's private key with the key pair in EC2; no API call reports that they differ."""
    public = ssh_keys.read_public_key(key_pair.key_file)
    remote = _find(clients, key_pair.key_name)
    if remote is None:
        raise UsageError(
            f"there is no key pair {key_pair.key_name} in {clients.region}",
            code="InvalidKeyPair.NotFound",
            fix="correct [aws] key_name; or leave it empty to have a key pair created",
        )
    if not _is_same(remote, public):
        raise UsageError(
            f"{key_pair.key_file} is not the private key of key pair {key_pair.key_name}: "
            f"its fingerprint is {ssh_keys.fingerprint(public)}, "
            f"the key pair's is {ssh_keys.fingerprint(remote['PublicKey'])}",
            fix="correct [ssh] private_key or [aws] key_name; or leave key_name empty to have a key pair created",
        )


def _is_same(pair: KeyPairInfoTypeDef, public: str) -> bool:
    remote = pair.get("PublicKey", "").split()[:2]
    return not remote or remote == public.split()[:2]  # EC2 has no public key of some very old key pairs


def _refuse_if_used(key_pair: KeyPair, existing_names: Sequence[str]) -> None:
    if existing_names:
        raise UsageError(
            f"{', '.join(existing_names)} were launched with another key than {key_pair.key_file}",
            fix="copy that key from the computer that launched them; or terminate them: " + NextStep("TerminateAll"),
        )


def _refuse_if_recent(clients: client.Clients, key_pair: KeyPair, pair: KeyPairInfoTypeDef) -> None:
    """Refuse to replace a key pair that a launch in progress on another computer may have just imported.

    EC2 may not show that launch's instances yet: its key pair would be deleted, and its names given a second time.
    """
    created_at = pair.get("CreateTime")
    if created_at is None:  # of very old key pairs
        return
    age_s = (clients.clock.now() - created_at).total_seconds()
    if age_s < LAUNCH_IN_PROGRESS_S:
        raise UsageError(
            f"key pair {key_pair.key_name} was imported {max(age_s, 0):.0f} s ago from another computer: "
            "a launch may be in progress there",
            fix=f"try again in {LAUNCH_IN_PROGRESS_S - max(age_s, 0):.0f} s; or copy {key_pair.key_file} from there",
        )
