"""Offer the image that this host has built to the other hosts of the install; run by steps/image.sh.

    docker save IMAGE | python3 image_share.py FOLDER          with the install's channel as file 5

The image is kept in FOLDER while others get it. Its digests are printed, "@@digests HEX" with many at a time, if it
has several pieces, then "@@offer BYTES SHA256". The answer is as that to @@missing in pieces.py. In the end it prints
"@@serving PORT".
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import peers
from peers import NUMBER, Link, Piece

PIECE_BYTES = 1 << 20
DIGESTS_PER_LINE = 500
FILE = "image.tar"


def save(path: str) -> tuple[int, str, list[bytes]]:
    """Write standard input to a file; return its size, its digest, and those of its pieces."""
    whole, pieces, size = hashlib.sha256(), [], 0
    with open(path, "wb") as file:
        while block := sys.stdin.buffer.read(PIECE_BYTES):
            file.write(block)
            whole.update(block)
            pieces.append(hashlib.sha256(block).digest())
            size += len(block)
    return size, whole.hexdigest(), pieces


def main(folder: str) -> int:
    """Offer the image; return the exit status."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    size, digest, digests = save(os.path.join(folder, FILE))
    if not size:
        return 1
    for start in range(0, len(digests) if len(digests) > 1 else 0, DIGESTS_PER_LINE):
        print("@@digests " + b"".join(digests[start : start + DIGESTS_PER_LINE]).hex(), flush=True)
    print(f"@@offer {size} {digest}", flush=True)
    with open(5, "rb", closefd=False) as channel:
        fields = channel.readline(256).split()
        if fields[:1] != [b"pieces"]:
            return 1
        tls = json.loads(channel.read(int(fields[1])))
    pieces = [
        Piece(FILE, number * PIECE_BYTES, min(PIECE_BYTES, size - number * PIECE_BYTES), own)
        for number, own in enumerate(digests)
    ]
    store = peers.Store((folder, folder), pieces, bytearray(b"\1" * len(pieces)))
    port, pipe = peers.start(store, tls, Link(float(tls["limit"])), is_temporary=True)
    if not port:
        return 1
    os.write(pipe, NUMBER.pack(peers.FINISHED))
    os.close(pipe)
    print(f"@@serving {port}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
