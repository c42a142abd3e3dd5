"""Copy a prefix of S3 to a folder, with the VM's own role; run by steps/s3.sh.

    python stage.py check|apply s3://bucket/prefix DEST

``check`` exits with 0 if DEST contains exactly the objects in S3 (by name, size and ETag). Needs boto3 only.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MANIFEST = ".stratus-manifest.json"


def listing(client: Any, bucket: str, prefix: str) -> dict[str, tuple[str, int, str]]:
    """Map each relative name below the prefix to (key, bytes, ETag)."""
    base = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    objects: dict[str, tuple[str, int, str]] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key = item["Key"]
            # The prefix may itself be the key of an object.
            name = key[len(base) :] if key.startswith(base) else key.rpartition("/")[2] if key == prefix else ""
            if name and not name.endswith("/"):
                objects[name] = (key, item["Size"], item["ETag"])
    return objects


def inside(folder: Path, name: str) -> Path:
    """Return the path of an object's file.

    :raises SystemExit: the key leads out of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SystemExit(f"s3: refused: the key {name!r} leaves the folder")
    return path


def is_current(folder: Path, objects: dict[str, tuple[str, int, str]]) -> bool:
    """Return True if the folder already contains the listed objects."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return bool(manifest == {name: list(facts) for name, facts in objects.items()}) and all(
        (folder / name).is_file() for name in objects
    )


def download(client: Any, bucket: str, folder: Path, objects: dict[str, tuple[str, int, str]]) -> None:
    """Download every object, eight at a time; each is renamed to its name when complete."""

    def download_one(name: str) -> None:
        path = inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        client.download_file(bucket, objects[name][0], str(part))
        os.replace(part, path)

    with ThreadPoolExecutor(8) as pool:
        # list() raises the first exception of the threads here.
        list(pool.map(download_one, sorted(objects)))
    (folder / MANIFEST).write_text(json.dumps({name: list(facts) for name, facts in objects.items()}))


def main(mode: str, url: str, dest: str) -> int:
    """Check or apply; return the exit status."""
    try:
        # Here, so that a missing package becomes a message: the job's environment decides what there is.
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    except ImportError:
        print("boto3 is missing from the job's environment")
        return 1
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    folder = Path(dest)
    client = boto3.client("s3")
    try:
        objects = listing(client, bucket, prefix)
        if not objects:
            print(f"{url}: nothing there")
            return 1
        if mode == "check":
            return 0 if is_current(folder, objects) else 1
        folder.mkdir(parents=True, exist_ok=True)
        download(client, bucket, folder, objects)
    except NoCredentialsError:
        print(f"{url}: this VM has no role: [aws] instance_profile names one (docs/data.md)")
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"{url}: {error}")
        return 1
    print(f"{url}: {len(objects)} objects, {sum(size for _, size, _ in objects.values()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
