"""Copy a prefix of S3 to a folder, list it or mount it, with the VM's own role; run by steps/s3.sh and task.sh.

    python stage.py check|apply s3://bucket/prefix DEST [--public] [--requester-pays]
    python stage.py run FOLDER

``check`` exits with 0 if DEST contains exactly the objects in S3 (by name, size and ETag). ``run`` prepares the data in
FOLDER/inputs for this host of a run (STRATUS_RANK of STRATUS_SIZE), and links it into FOLDER/workdir. Needs boto3 only.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

MANIFEST = ".stratus-manifest.json"
PUBLIC, REQUESTER_PAYS = "--public", "--requester-pays"
# https://github.com/awslabs/mountpoint-s3
MOUNT = "mount-s3"
MOUNT_TIMEOUT_S = 120.0

Objects = dict[str, tuple[str, int, str]]
"""Relative name -> (key, bytes, ETag)."""


class Source:
    """A prefix of S3.

    :param flags: options of the command line.
    """

    def __init__(self, url: str, flags: list[str]) -> None:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        self.url, self.flags = url, flags
        self.bucket, _, self.prefix = url[len("s3://") :].partition("/")
        signature: Any = {"signature_version": UNSIGNED} if PUBLIC in flags else {}
        config = Config(connect_timeout=10, read_timeout=60, **signature)
        self.client = boto3.client("s3", config=config)
        self.payer: Any = {"RequestPayer": "requester"} if REQUESTER_PAYS in flags else {}

    def objects(self) -> Objects:
        """Return what is below the prefix.

        :raises SystemExit: nothing is.
        """
        base = self.prefix if not self.prefix or self.prefix.endswith("/") else self.prefix + "/"
        objects: Objects = {}
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix, **self.payer):
            for item in page.get("Contents", ()):
                key = item["Key"]
                # The prefix may itself be the key of an object.
                last = key.rpartition("/")[2] if key == self.prefix else ""
                name = key[len(base) :] if key.startswith(base) else last
                if name and not name.endswith("/"):
                    objects[name] = (key, item["Size"], item["ETag"])
        if not objects:
            raise SystemExit(f"{self.url}: nothing there")
        return objects

    def download(self, folder: Path, objects: Objects) -> None:
        """Download every object that is not there, eight at a time; each is renamed to its name when complete."""
        folder.mkdir(parents=True, exist_ok=True)
        # An entry of the manifest is a file that is complete.
        present = {name: facts for name, facts in manifest(folder).items() if (folder / name).is_file()}

        def download_one(name: str) -> None:
            path = inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            self.client.download_file(self.bucket, objects[name][0], str(part), ExtraArgs=self.payer)
            os.replace(part, path)

        with ThreadPoolExecutor(8) as pool:
            # list() raises the first exception of the threads here.
            list(pool.map(download_one, sorted(name for name in objects if present.get(name) != list(objects[name]))))
        (folder / MANIFEST).write_text(json.dumps({name: list(facts) for name, facts in objects.items()}))

    def object_url(self, key: str) -> str:
        """Return the URL of an object: for any program if it is public, and otherwise for one that can sign."""
        if PUBLIC not in self.flags:
            return f"s3://{self.bucket}/{key}"
        endpoint = str(self.client.meta.endpoint_url)
        place = (
            f"https://{self.bucket}.s3.amazonaws.com" if "amazonaws.com" in endpoint else f"{endpoint}/{self.bucket}"
        )
        return f"{place}/{quote(key)}"


def inside(folder: Path, name: str) -> Path:
    """Return the path of an object's file.

    :raises SystemExit: the key leads out of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SystemExit(f"s3: refused: the key {name!r} leaves the folder")
    return path


def manifest(folder: Path) -> dict[str, Any]:
    """Return what was downloaded into a folder, as it was listed then."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError):
        return {}


def is_current(folder: Path, objects: Objects) -> bool:
    """Return True if the folder already contains the listed objects."""
    return manifest(folder) == {name: list(facts) for name, facts in objects.items()} and all(
        (folder / name).is_file() for name in objects
    )


def shard(objects: Objects, rank: int, size: int) -> Objects:
    """Return the part of one host: every ``size``-th object by name, which are about as large together as any other."""
    return {name: objects[name] for name in sorted(objects)[rank::size]}


def summary(url: str, objects: Objects) -> str:
    """Return what was staged."""
    return f"{url}: {len(objects)} objects, {sum(size for _, size, _ in objects.values()) / 1e6:.1f} MB"


def run(folder: Path) -> None:
    """Prepare the data of a run on this host, once for all its tasks.

    :raises SystemExit: it cannot be prepared.
    """
    root = folder.parent.parent
    with (folder / "inputs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "state/inputs").exists():
            return
        for item in json.loads((folder / "inputs").read_text()):
            target = prepare(item, root / item["path"])
            link = folder / "workdir" / item["name"]
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        (folder / "state/inputs").touch()


def prepare(item: dict[str, Any], place: Path) -> Path:
    """Copy, list or mount an item's data, and return the path of the result.

    :param place: for all runs of the job on this VM.
    """
    source = Source(item["url"], item["flags"])
    if item["mode"] == "mount":
        mount(source, place)
        return place
    rank, size = int(os.environ["STRATUS_RANK"]), int(os.environ["STRATUS_SIZE"])
    objects = source.objects()
    part = shard(objects, rank, size) if item["shard"] else objects
    # Another number of hosts has other parts.
    place = place.with_name(f"{place.name}-{rank}-{size}")
    if item["mode"] == "copy":
        if not is_current(place, part):
            source.download(place, part)
            for name in set(present_files(place)) - part.keys():
                (place / name).unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(place.name + ".new")
        new.write_text("".join(f"{source.object_url(part[name][0])}\n" for name in sorted(part)))
        new.replace(place)
    print(f"data: {summary(source.url, part)}" + (f" of {len(objects)}" if item["shard"] else ""), flush=True)
    return place


def present_files(folder: Path) -> list[str]:
    """Return the names of files in a folder besides the manifest."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return [name for name in names if name != MANIFEST]


def mount(source: Source, place: Path) -> None:
    """Mount a prefix, for reading.

    :raises SystemExit: Mountpoint for S3 is missing, or refused.
    """
    if os.path.ismount(place):
        return
    if shutil.which(MOUNT) is None:
        raise SystemExit(
            f"data: {source.url}: {MOUNT} is not installed on this VM: setup in job.ini can install Mountpoint for S3"
        )
    place.mkdir(parents=True, exist_ok=True)
    base = source.prefix.rstrip("/")
    options = ["--read-only", *(["--prefix", f"{base}/"] if base else [])]
    options += ["--no-sign-request"] if PUBLIC in source.flags else []
    options += [REQUESTER_PAYS] if REQUESTER_PAYS in source.flags else []
    command = [MOUNT, *options, source.bucket, str(place)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MOUNT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"data: {source.url}: {MOUNT} did not mount it in {MOUNT_TIMEOUT_S:.0f} s") from None
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise SystemExit(f"data: {source.url}: {MOUNT} failed: {lines[-1][:200]}")
    print(f"data: {source.url} mounted", flush=True)


def stage(mode: str, url: str, dest: str, *flags: str) -> int:
    """Check or apply; return the exit status."""
    source, folder = Source(url, list(flags)), Path(dest)
    objects = source.objects()
    if mode == "check":
        return 0 if is_current(folder, objects) else 1
    source.download(folder, objects)
    print(summary(url, objects))
    return 0


def main(mode: str, *words: str) -> int:
    """Check, apply or prepare a run; return the exit status."""
    try:
        # Here, so that a missing package becomes a message: the job's environment decides what there is.
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    except ImportError:
        print("boto3 is missing from the job's environment")
        return 1
    try:
        if mode == "run":
            run(Path(words[0]))
            return 0
        return stage(mode, *words)
    except SystemExit as error:
        print(error)
    except NoCredentialsError:
        print("data on S3: this VM has no role: [aws] instance_profile names one (docs/data.md)")
    except (BotoCoreError, ClientError) as error:
        print(f"data on S3: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
