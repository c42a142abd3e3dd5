"""Copy a prefix of S3 to a folder, with the machine's own role; run on the VM by steps/s3.sh.

    python stage.py check|apply s3://bucket/prefix DEST

``check`` exits 0 when DEST holds exactly the objects listed now (by name, size and ETag). Only boto3 is needed.
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
    found: dict[str, tuple[str, int, str]] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key = item["Key"]
            name = key[len(base) :] if key.startswith(base) else key.rpartition("/")[2] if key == prefix else ""
            if name and not name.endswith("/"):
                found[name] = (key, item["Size"], item["ETag"])
    return found


def inside(folder: Path, name: str) -> Path:
    """Return the path of an object's file; a key that climbs out of the folder is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SystemExit(f"s3: refused: the key {name!r} leaves the folder")
    return path


def current(folder: Path, found: dict[str, tuple[str, int, str]]) -> bool:
    """Tell whether the folder already holds what S3 lists."""
    try:
        known = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return bool(known == {name: list(facts) for name, facts in found.items()}) and all(
        (folder / name).is_file() for name in found
    )


def download(client: Any, bucket: str, folder: Path, found: dict[str, tuple[str, int, str]]) -> None:
    """Fetch every object, eight at a time; each appears under its name only when whole."""

    def one(name: str) -> None:
        path = inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        client.download_file(bucket, found[name][0], str(part))
        os.replace(part, path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, sorted(found)))
    (folder / MANIFEST).write_text(json.dumps({name: list(facts) for name, facts in found.items()}))


def main(mode: str, url: str, dest: str) -> int:
    """Check or apply; the exit status says how it went."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        print("boto3 is missing from the job's environment")
        return 1
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    folder = Path(dest)
    client = boto3.client("s3")
    try:
        found = listing(client, bucket, prefix)
        if not found:
            print(f"{url}: nothing there")
            return 1
        if mode == "check":
            return 0 if current(folder, found) else 1
        folder.mkdir(parents=True, exist_ok=True)
        download(client, bucket, folder, found)
    except (BotoCoreError, ClientError) as error:
        print(f"{url}: {error}")
        return 1
    print(f"{url}: {len(found)} objects, {sum(size for _, size, _ in found.values()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
