"""Image that one host of an install has built, for the others: built once, so that all have the same, and passed on."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.install.fan_out import Tree
from orchestrator.install.parcel import CHUNK_BYTES, Parcel
from orchestrator.install.upload import Upload, UploadFile

NAME = "image"
"""Of its upload; those of jobs have a dot in their names."""

MAX_BYTES = 1 << 40
FILE = "image.tar"


class ImageShare:
    """Turns of the hosts of an install that lack the image: the first one builds it; safe to use from many threads.

    :param parcels: get what the builder offers.
    :param trees: get the hosts that pass it on.
    :param timeout_s: for the build; the others build it themselves after that.
    """

    def __init__(
        self, tree: Tree, parcels: dict[str, Parcel], trees: dict[str, Tree], folder: Path, timeout_s: float
    ) -> None:
        self.tree, self.timeout_s = tree, timeout_s
        self._parcels, self._trees, self._folder = parcels, trees, folder
        self._changed = threading.Condition()
        self._builder = ""
        self._is_over = False
        self._digests = b""
        self._offer: Parcel | None = None

    def source(self, host: Host) -> Iterator[bytes]:
        """Yield the answer to a host that lacks the image, once there is one: ``own``, to build it, or ``peer``."""
        with self._changed:
            self._builder = self._builder or host.name
            if self._builder != host.name:
                self._changed.wait_for(lambda: self._is_over, timeout=self.timeout_s)
            is_there = NAME in self._trees and self._builder != host.name
        yield b"peer\n" if is_there else b"own\n"

    def add_digests(self, host: Host, text: str) -> None:
        """Note digests of pieces, in hexadecimal.

        :raises HostError: the host has no turn, or they are none.
        """
        self._check(host, is_valid=bool(re.fullmatch("([0-9a-f]{64})+", text)))
        self._digests += bytes.fromhex(text)
        self._check(host, is_valid=len(self._digests) <= 32 * MAX_BYTES // CHUNK_BYTES)

    def offer(self, host: Host, size: str, digest: str) -> Iterator[bytes]:
        """Return the answer to the builder that has saved the image: its certificate.

        :raises HostError: the host has no turn, or sizes and digests do not belong together.
        """
        is_number = size.isascii() and size.isdecimal() and 0 < int(size[:20]) <= MAX_BYTES
        self._check(host, is_valid=is_number and bool(re.fullmatch("[0-9a-f]{64}", digest)))
        pieces = -(-int(size) // CHUNK_BYTES)
        self._check(host, is_valid=len(self._digests) == (32 * pieces if pieces > 1 else 0))
        file = UploadFile(Path(FILE), FILE, digest, int(size), 0o600, 0)
        self._offer = Parcel(Upload(NAME, file.path, "", digest, (file,)), self._folder, self._digests)
        membership = self.tree.membership(host)
        return iter([b"pieces %d 0\n" % len(membership) + membership])

    def serve(self, host: Host, port: str) -> None:
        """Let the other hosts get the image from the builder.

        :raises HostError: the host has offered none.
        """
        is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 1 << 16
        self._check(host, is_valid=is_port and self._offer is not None)
        assert self._offer
        self.tree.seed(host, int(port))
        with self._changed:
            self._parcels[NAME], self._trees[NAME] = self._offer, self.tree
            self._is_over = True
            self._changed.notify_all()

    def leave(self, host: Host) -> None:
        """Note that the install of a host has ended: if it offered nothing, the others build the image themselves."""
        with self._changed:
            if host.name == self._builder:
                self._is_over = True
                self._changed.notify_all()

    def _check(self, host: Host, *, is_valid: bool) -> None:
        if host.name != self._builder or self._is_over or not is_valid:
            raise HostError("it offers an image in an unknown format, or out of turn", where=host.name)
