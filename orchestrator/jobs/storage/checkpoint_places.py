"""Places of checkpoints in S3: the files that tell the hosts of a run where they are.

Below the place each host has a folder ``rank-N/`` with its files and ``manifest.json``, which ``remote/checkpoints.py``
writes last: only files that it lists are restored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.storage.checkpoints import Checkpoints

MANIFEST = "manifest.json"
SLOTS = 128
"""Files of a host without a role: as many URLs are signed at the start."""

MAX_MANIFEST_BYTES = 16 << 20
MOST_READABLE = 20_000
"""Files of all hosts: each URL is signed at the start, which takes some seconds for so many."""


class RunStore(Protocol):
    """S3, as far as runs need it: for results and, on VMs without a role, for checkpoints."""

    def writable(self, url: str) -> str:
        """Return a URL that writes one object, without credentials."""
        ...

    def readable(self, url: str) -> str:
        """Return a URL that reads one object, without credentials."""
        ...

    def names(self, url: str) -> list[str]:
        """Return the names of objects and folders of one level."""
        ...

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return the content of an object; empty if there is none."""
        ...

    def fetch(self, url: str, path: Path, max_bytes: int) -> None:
        """Download an object.

        :raises StratusError: it is larger, or could not be downloaded.
        """
        ...


@dataclass(frozen=True)
class CheckpointPlaces:
    """Files that tell the hosts of a run where its checkpoints are.

    :param store: None where there is no S3.
    :param has_role: the VMs have a role, which then decides what they may read and write.
    """

    store: RunStore | None
    has_role: bool

    def files(self, plan: JobPlan) -> dict[str, dict[str, bytes]]:
        """Return host -> name -> content of its files; empty if the job has no checkpoints."""
        own = plan.spec.checkpoints
        if own is None:
            return {}
        if not self.has_role and self.store is None:
            raise UsageError("checkpoints need a role of the VMs, or S3 on this computer", where=plan.spec.name)
        restore = {} if self.has_role or self.store is None else {"restore": _restore(self.store, own.url)}
        return {host: self._files(plan, own, rank, restore) for rank, host in enumerate(plan.hosts)}

    def _files(self, plan: JobPlan, own: Checkpoints, rank: int, restore: Mapping[str, Any]) -> dict[str, bytes]:
        place = {"dir": own.folder, "url": own.url, "rank": rank, "run": plan.run_id, **restore}
        if not self.has_role and self.store is not None:
            base = f"{own.url}/rank-{rank}/"
            urls = [f"{base}slot-{number:03}" for number in range(SLOTS)]
            place["slots"] = {_key(url): self.store.writable(url) for url in urls}
            place["manifest"] = self.store.writable(base + MANIFEST)
        return {
            "checkpoints": json.dumps(place).encode(),
            "checkpoints.dir": f"{own.folder}\n".encode(),
            "checkpoints.every": b"%d\n" % own.every_s,
        }


def _key(url: str) -> str:
    return url.removeprefix("s3://").partition("/")[2]


def _restore(store: RunStore, url: str) -> dict[str, Any]:
    """Return the manifests in S3, and URLs that read their files."""
    manifests: dict[str, Any] = {}
    keys: set[str] = set()
    for name in store.names(url):
        rank = name.strip("/").removeprefix("rank-")
        place = f"{url}/rank-{rank}/"
        if rank.isdigit() and (content := store.read(place + MANIFEST, MAX_MANIFEST_BYTES)):
            manifests[rank] = _parse(content, place)
            keys |= {facts["key"] for facts in manifests[rank]["files"].values()}
    if len(keys) > MOST_READABLE:
        fix = NextStep("InstanceRole") + "  creates a role"
        raise UsageError(f"{len(keys):,} files are too many for VMs without a role", where=url, fix=fix)
    bucket = url.removeprefix("s3://").partition("/")[0]
    return {"manifests": manifests, "urls": {key: store.readable(f"s3://{bucket}/{key}") for key in sorted(keys)}}


def _parse(content: bytes, place: str) -> dict[str, Any]:
    """Return the manifest of a host's folder.

    :param place: the folder, with a slash at its end.
    :raises UsageError: it is damaged, or names objects elsewhere: a host writes it, and gets URLs of what it names.
    """
    try:
        manifest = json.loads(content)
        is_valid = all(
            isinstance(facts["key"], str) and isinstance(facts["size"], int) and isinstance(facts["sha256"], str)
            for facts in manifest["files"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_valid = False
    if not is_valid:
        raise _refusal("is not a list of checkpoints", place)
    for facts in manifest["files"].values():
        if not facts["key"].startswith(_key(place)) or ".." in facts["key"].split("/"):
            raise _refusal(f"names {ascii(facts['key'])[:120]}, which is not in the folder of its VM", place)
    return dict(manifest)


def _refusal(message: str, place: str) -> UsageError:
    fix = "delete it for a start without checkpoints; " + NextStep("ListData", place) + "  shows it"
    return UsageError(message, where=place + MANIFEST, fix=fix)
