"""Requests of a host during an install, and the bytes that answer them: uploads, and the password of a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event, EventHandler
from orchestrator.install.parcel import Chunk, Parcel

if TYPE_CHECKING:
    from orchestrator.install.registry_login import RegistryLogin

SHOWN_FROM_BYTES = 8_000_000
"""Smaller uploads are over before a line about them can be read."""

PROGRESS_INTERVAL_S = 0.5


@dataclass
class UploadProgress:
    """Progress of one upload to one host, as a line now and then.

    :param total_bytes: of the contents that the host lacks.
    """

    host: str
    total_bytes: int
    clock: Clock
    on_event: EventHandler
    done_bytes: int = 0

    def __post_init__(self) -> None:
        self._began = self._shown_at = self.clock.monotonic()

    def add(self, count_bytes: int) -> None:
        """Count bytes that the host has accepted."""
        self.done_bytes += count_bytes
        now = self.clock.monotonic()
        if self.total_bytes >= SHOWN_FROM_BYTES and now - self._shown_at >= PROGRESS_INTERVAL_S:
            self._shown_at = now
            self.on_event(Event(self.host, "", "progress", text=self.text(now)))

    def text(self, now: float) -> str:
        """Return the amounts, the rate and the time left."""
        rate = self.done_bytes / (now - self._began) if now > self._began else 0.0
        amounts = f"uploaded {_mb(self.done_bytes)} of {_mb(self.total_bytes)} MB"
        if not rate:
            return amounts
        minutes, seconds = divmod(int((self.total_bytes - self.done_bytes) / rate + 0.999), 60)
        return f"{amounts}   {rate / 1e6:.1f} MB/s   about {minutes}:{seconds:02} left"


def _mb(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:,.0f}"


@dataclass
class HostRequests:
    """Requests of one host during one install; each upload may be requested once.

    :param host: its name.
    :param parcels: uploads of the plan, by name.
    """

    host: str
    parcels: Mapping[str, Parcel]
    login: RegistryLogin | None
    clock: Clock
    on_event: EventHandler
    answered: set[str] = field(default_factory=set)

    def respond(self, line: str) -> Iterator[bytes] | None:
        """Return the bytes that answer a line of the host; None if it is no request.

        :raises HostError: the request is not part of the install.
        """
        mark, _, value = line.partition(" ")
        if mark == "@@want":
            return self._password(self.login) if value == "login" and self.login else self._listing(value)
        if mark == "@@missing":
            name, _, bitmap = value.partition(" ")
            return self._contents(name, bitmap)
        return None

    def _listing(self, name: str) -> Iterator[bytes]:
        return iter([self._parcel(name, f"@@want {name}").listing])

    def _contents(self, name: str, bitmap: str) -> Iterator[bytes]:
        parcel = self._parcel(name, f"@@missing {name}")
        try:
            chunks = parcel.requested(bitmap)
        except ValueError as error:
            raise HostError("it requests files in an unknown format", where=self.host) from error
        progress = UploadProgress(self.host, sum(chunk.size_bytes for chunk in chunks), self.clock, self.on_event)
        return self._frames(parcel, chunks, progress)

    def _frames(self, parcel: Parcel, chunks: list[Chunk], progress: UploadProgress) -> Iterator[bytes]:
        for chunk in chunks:
            yield parcel.frame(chunk)
            progress.add(chunk.size_bytes)

    def _parcel(self, name: str, request: str) -> Parcel:
        # Once: a host that repeats a request would be sent the same bytes without end.
        if name not in self.parcels or request in self.answered:
            raise HostError(f"it requests {name[:40]!a}, which is not part of the install", where=self.host)
        self.answered.add(request)
        return self.parcels[name]

    def _password(self, login: RegistryLogin) -> Iterator[bytes]:
        password = login.password().reveal().encode()
        yield b"%d\n" % len(password) + password
