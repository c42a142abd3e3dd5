"""Save a folder of a run to S3 while its job writes to it, and restore it before the job begins; run by checkpoints.sh.

    python checkpoints.py restore|save|final FOLDER

FOLDER/checkpoints is JSON: ``dir`` (in the working directory), ``url``, ``rank`` of this host, ``run``; for a VM that
has no role also presigned URLs: ``slots`` and ``manifest`` to write, ``restore`` to read. ``save`` leaves out what
changed in the last seconds, ``final`` does not. In the bucket, below URL/rank-N/: the files, and manifest.json, written
last, which lists those that belong together. An object that the manifest names is never written again.

Needs boto3 if the VM has a role, and the standard library otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

QUIET_S = 2.0
UNFINISHED = (".tmp", ".part", ".partial", ".incomplete")
"""Endings of names that programs give to files that they still write."""

MANIFEST = "manifest.json"
FORGOTTEN_S = 24 * 3600
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 300.0


class Failed(Exception):
    """A save or restore that could not be completed; the text is one line."""


class Bucket:
    """The place of checkpoints, with the VM's role."""

    def __init__(self, url: str, rank: int) -> None:
        import boto3

        self.bucket, _, prefix = url[len("s3://") :].partition("/")
        self.prefix = prefix.rstrip("/") + "/" if prefix.rstrip("/") else ""
        self.own = f"{self.prefix}rank-{rank}/"
        self.client = boto3.client("s3")
        self.stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def manifests(self) -> dict[int, dict[str, Any]]:
        """Return rank -> manifest."""
        manifests: dict[int, dict[str, Any]] = {}
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + "rank-", Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                rank = item["Prefix"][len(self.prefix) + len("rank-") :].rstrip("/")
                if rank.isdigit() and (manifest := self._manifest(item["Prefix"] + MANIFEST)):
                    manifests[int(rank)] = manifest
        return manifests

    def _manifest(self, key: str) -> dict[str, Any]:
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return {}
        return dict(json.loads(body))

    def read(self, key: str, path: Path) -> None:
        """Download an object."""
        self.client.download_file(self.bucket, key, str(path))

    def key(self, name: str, _used: set[str]) -> str:
        """Return the key that a new file gets: no manifest names it."""
        return f"{self.own}{self.stamp}/{name}"

    def write(self, key: str, path: Path) -> None:
        """Upload a file."""
        self.client.upload_file(str(path), self.bucket, key)

    def write_manifest(self, content: bytes) -> None:
        """Replace the manifest: from now on its files are those that are restored."""
        self.client.put_object(Bucket=self.bucket, Key=self.own + MANIFEST, Body=content)

    def clean(self, used: set[str], dropped: set[str]) -> None:
        """Delete files that the manifest does not name any more, and what broken saves left behind."""
        keys = set(dropped)
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.own):
            for item in page.get("Contents", ()):
                if time.time() - item["LastModified"].timestamp() > FORGOTTEN_S:
                    keys.add(item["Key"])
        for key in sorted(keys - used - {self.own + MANIFEST}):
            self.client.delete_object(Bucket=self.bucket, Key=key)


class PresignedUrls:
    """The place of checkpoints, for a VM without a role: a fixed number of objects that it may write."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.slots: dict[str, str] = place["slots"]
        self.manifest_url: str = place["manifest"]
        self.restore: dict[str, Any] = place["restore"]

    def manifests(self) -> dict[int, dict[str, Any]]:
        """Return rank -> manifest."""
        return {int(rank): manifest for rank, manifest in self.restore["manifests"].items()}

    def read(self, key: str, path: Path) -> None:
        """Download an object."""
        with urllib.request.urlopen(self.restore["urls"][key], timeout=TIMEOUT_S) as answer, path.open("wb") as file:
            while block := answer.read(BLOCK_BYTES):
                file.write(block)

    def key(self, _name: str, used: set[str]) -> str:
        """Return the key of a slot that no manifest names."""
        for key in self.slots:
            if key not in used:
                return key
        raise Failed(f"more than {len(self.slots)} files, which takes a role: see instance_profile in docs/data.md")

    def write(self, key: str, path: Path) -> None:
        """Upload a file."""
        with path.open("rb") as file:
            self._put(self.slots[key], file, path.stat().st_size)

    def write_manifest(self, content: bytes) -> None:
        """Replace the manifest: from now on its files are those that are restored."""
        self._put(self.manifest_url, content, len(content))

    def clean(self, used: set[str], dropped: set[str]) -> None:
        """Slots are used again."""

    def _put(self, url: str, body: Any, size: int) -> None:
        headers = {"Content-Length": str(size), "Content-Type": "binary/octet-stream"}
        request = urllib.request.Request(url, data=body, method="PUT", headers=headers)
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()


def open_for_writing() -> set[str]:
    """Return the paths of files that processes of this user write to."""
    paths = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            flags = (fd.parent.parent / "fdinfo" / fd.name).read_text().partition("flags:")[2].split()[0]
            if int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
                paths.add(os.readlink(fd))
        except (OSError, IndexError, ValueError):
            continue
    return paths


def files_of(entry: Path) -> Iterator[Path]:
    """Yield the regular files of a file or folder; links are not followed."""
    if entry.is_symlink():
        return
    if entry.is_file():
        yield entry
    elif entry.is_dir():
        for child in sorted(entry.iterdir()):
            yield from files_of(child)


def is_unfinished(path: Path) -> bool:
    """Return True for names of files that are still being written."""
    return path.name.startswith(".") or path.name.endswith(UNFINISHED)


def state_of(path: Path) -> tuple[int, int]:
    """Return size and time of change, which differ after a change."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class Run:
    """The checkpoints of one run on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place: dict[str, Any] = json.loads((folder / "checkpoints").read_text())
        self.work = folder / "workdir" / self.place["dir"]
        self.known = folder / "state/checkpoints.json"
        self.store: Bucket | PresignedUrls = (
            PresignedUrls(self.place) if "slots" in self.place else Bucket(self.place["url"], self.place["rank"])
        )

    def restore(self) -> None:
        """Fetch what the last run saved: this rank's files, and those of other ranks that it does not have."""
        if self.known.exists():
            return
        manifests = self.store.manifests()
        own = self.place["rank"]
        files: dict[str, dict[str, Any]] = {}
        for rank in sorted(manifests, key=lambda number: (number != own, number)):
            for name, facts in manifests[rank]["files"].items():
                files.setdefault(name, facts)
        self.work.mkdir(parents=True, exist_ok=True)
        for name, facts in files.items():
            self._fetch(name, facts)
        mine = manifests.get(own, {}).get("files", {})
        others = {name: list(state_of(self.work / name)) for name in files if name not in mine}
        self._remember({"files": mine, "others": others})
        if files:
            last = max(manifests.values(), key=lambda manifest: str(manifest["saved"]))
            size = sum(facts["size"] for facts in files.values()) / 1e6
            count = f"{len(files)} file{'s' * (len(files) != 1)}"
            print(
                f"checkpoints: {count}, {size:.1f} MB of run {last['run']} ({last['saved']}) restored from {self.url}"
            )

    @property
    def url(self) -> str:
        """The place, as the job names it."""
        return str(self.place["url"])

    def _fetch(self, name: str, facts: dict[str, Any]) -> None:
        path = self.work / name
        if not path.resolve().is_relative_to(self.work.resolve()):
            raise Failed(f"{name!a} in the manifest leads out of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        self.store.read(facts["key"], part)
        if part.stat().st_size != facts["size"] or sha256(part) != facts["sha256"]:
            part.unlink()
            raise Failed(f"{name} in {self.url} differs from its manifest")
        os.utime(part, ns=(facts["mtime_ns"], facts["mtime_ns"]))
        part.replace(path)

    def _remember(self, known: dict[str, Any]) -> None:
        new = self.known.with_suffix(".new")
        new.write_text(json.dumps(known))
        new.replace(self.known)

    def save(self, *, final: bool) -> None:
        """Upload what is new or changed, then the manifest.

        :param final: the job has ended or is about to: also what was changed a moment ago.
        """
        try:
            known = json.loads(self.known.read_text())
        except FileNotFoundError:
            raise Failed("nothing was restored yet: nothing is saved over it") from None
        before: dict[str, Any] = known["files"]
        entries = sorted(self.work.iterdir()) if self.work.is_dir() else []
        listed: dict[str, Any] = {}
        uploads: dict[str, Any] = {}
        writing = open_for_writing()
        for entry in entries:
            names = {str(path.relative_to(self.work)): path for path in files_of(entry)}
            names = {name: path for name, path in names.items() if list(state_of(path)) != known["others"].get(name)}
            facts = None
            if self._is_complete(entry, names, writing, final=final):
                facts = self._upload(names, before, uploads)
            # Otherwise as it was saved before, if it was.
            listed |= facts or {name: old for name, old in before.items() if name.split("/")[0] == entry.name}
        # An empty folder is no checkpoint: what was saved before stays.
        if not listed or listed == before:
            return
        saved = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        manifest = {"format": 1, "run": self.place["run"], "saved": saved, "files": listed}
        self.store.write_manifest(json.dumps(manifest, indent=1).encode())
        self._remember({"files": listed, "others": known["others"]})
        used = {str(facts["key"]) for facts in listed.values()}
        self.store.clean(used, {str(facts["key"]) for facts in (*before.values(), *uploads.values())} - used)
        size = sum(facts["size"] for facts in uploads.values()) / 1e6
        count = f"{len(uploads)} file{'s' * (len(uploads) != 1)}"
        print(f"{saved} {count}, {size:.1f} MB saved; {len(listed)} in {self.url}", flush=True)

    def _is_complete(self, entry: Path, names: dict[str, Path], writing: set[str], *, final: bool) -> bool:
        if is_unfinished(entry) or any(is_unfinished(path) for path in names.values()):
            return False
        if any(str(path.resolve()) in writing for path in names.values()):
            return False
        newest = max((path.stat().st_mtime for path in names.values()), default=0.0)
        return final or time.time() - newest >= QUIET_S

    def _upload(self, names: dict[str, Path], before: dict[str, Any], uploads: dict[str, Any]) -> dict[str, Any] | None:
        """Upload an entry's files that are new or changed, and return the facts of all; None if one changes meanwhile.

        :param uploads: gets the facts of those that were uploaded.
        """
        entry = {}
        for name, path in names.items():
            (size, mtime_ns), old = state_of(path), before.get(name, {})
            entry[name] = old
            if (old.get("size"), old.get("mtime_ns")) == (size, mtime_ns):
                continue
            digest, key = sha256(path), old.get("key", "")
            if old.get("sha256") != digest:
                key = self.store.key(name, {str(facts["key"]) for facts in (*before.values(), *uploads.values())})
                self.store.write(key, path)
            facts = entry[name] = {"key": key, "size": size, "sha256": digest, "mtime_ns": mtime_ns}
            if old.get("sha256") != digest:
                uploads[name] = facts
            if state_of(path) != (size, mtime_ns):
                return None
        return entry


def main(mode: str, folder: str) -> int:
    """Restore or save; return the exit status."""
    run = Run(Path(folder))
    try:
        if mode == "restore":
            run.restore()
        else:
            run.save(final=mode == "final")
    except urllib.error.HTTPError as error:
        reason = "the presigned URLs are no longer valid, or not allowed" if error.code == 403 else error.reason
        print(f"checkpoints: {mode} of {run.url}: {error.code} {reason}")
        return 1
    # Every error becomes one line: the log is all that there is of a job without a connection.
    except Exception as error:
        print(f"checkpoints: {mode} of {run.url}: {error or type(error).__name__}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
