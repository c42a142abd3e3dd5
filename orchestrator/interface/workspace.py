"""What all verbs share: the config file and its changes, the session that it opens, the board, the end of it all."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import ConfigError, StratusError, UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.progress import Board
from orchestrator.interface.render import units

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.session import Session

Opener = Callable[..., "Session"]

Stamp = tuple[int, int, int]


def find_config(folder: Path) -> Path:
    """Return the config file that counts in a folder.

    :raises UsageError: when there is none.
    """
    for name in ("config/config.ini", "config.ini"):
        if (folder / name).is_file():
            return Path(name) if folder == Path() else folder / name
    raise UsageError(
        "no config file here: neither config/config.ini nor config.ini",
        fix="stratus config init  writes one;  --config FILE  (before the verb) names another",
    )


def open_session(settings: Settings, **options: Any) -> Session:
    """Open the real session; imported late, because a prompt and ``--help`` can do without."""
    from orchestrator.session import Session

    return Session(settings, **options)


def default_home() -> Path:
    """Return the folder for everything that is kept on this computer."""
    from orchestrator.session import default_home

    return default_home()


class Desk:
    """One user's place of work: a config file, the session that it opens, and a console.

    The file is read again whenever it changed; mistakes in it are shown and the settings from before stay.

    :param config: the config file; None looks for one in the working directory when it is first needed.
    :param consent: questions that cost money are answered with yes: a script was asked for by name.
    :param opener: opens a session, called as :class:`orchestrator.session.Session` is.
    """

    def __init__(
        self,
        config: Path | None,
        console: Console,
        *,
        consent: bool = False,
        opener: Opener = open_session,
        home: Path | None = None,
    ) -> None:
        self.console = console
        self.consent = consent
        self.board = Board(console)
        self._config = config
        self._opener = opener
        self._home = home
        self._stamp: Stamp | None = None
        self._settings: Settings | None = None
        self._session: Session | None = None
        self._closing = contextlib.ExitStack()
        # The prompt asks for the status while a verb may be at work.
        self._lock = threading.RLock()

    @property
    def config(self) -> Path:
        """The config file.

        :raises UsageError: when none was named and none is here.
        """
        if self._config is None:
            self._config = find_config(Path())
        return self._config

    @property
    def named(self) -> Path | None:
        """The config file that was named, whether it exists or not; None when none was."""
        return self._config

    @property
    def home(self) -> Path:
        """Where keys, journal and the last traceback are kept."""
        if self._home is None:
            self._home = default_home()
        return self._home

    def use(self, config: Path) -> None:
        """Work by another config file from now on.

        :raises ConfigError: it holds mistakes; then everything stays as it was.
        """
        loaded = _load(config, files=True)
        self._config, self._stamp = config, _stamp(config)
        self._take(loaded)

    def settings(self, *, files: bool = True) -> Settings:
        """Return the settings as the file is now.

        :param files: whether the files that it names have to exist; ending VMs needs none of them.
        :raises ConfigError: the first reading found mistakes.
        """
        with self._lock:
            stamp = _stamp(self.config)
            if self._settings is None or stamp != self._stamp:
                self._read(stamp, files=files)
            assert self._settings is not None
            return self._settings

    def _read(self, stamp: Stamp, *, files: bool) -> None:
        try:
            loaded = _load(self.config, files=files)
        except ConfigError as error:
            if self._settings is None:
                raise
            self.console.complain(
                [
                    *map(str, error.problems),
                    f"{units.count(len(error.problems), 'mistake')}. The settings from before stay.",
                ]
            )
            self._stamp = stamp
            return
        # What was read without its files is read again by the next verb that needs them.
        self._stamp = stamp if files else None
        self._take(loaded)

    def _take(self, loaded: Settings) -> None:
        if loaded == self._settings:
            return
        fresh = [warning for warning in loaded.warnings if not self._settings or warning not in self._settings.warnings]
        self.console.complain([str(warning) for warning in fresh])
        self._settings = loaded
        self._drop_session()

    def session(self, *, files: bool = True) -> Session:
        """Return the session for the settings as they are now."""
        with self._lock:
            settings = self.settings(files=files)
            if self._session is None:
                self._session = self._opener(settings, home=self.home, runs=Path("runs"), tell=self.board.tell)
            return self._session

    @property
    def label(self) -> str:
        """What the prompt calls the cloud, by the settings as they were read last."""
        return self._settings.aws.label if self._settings else "stratus"

    @property
    def opened(self) -> Session | None:
        """The session, if one was opened already."""
        return self._session

    def keep(self, close: Callable[[], object]) -> None:
        """Have something closed when work ends: a tunnel, for one."""
        self._closing.callback(close)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._closing.close()
            session.close()

    def close(self) -> None:
        """End tunnels and connections; nothing in the cloud changes."""
        self._drop_session()

    def bug(self, error: Exception) -> StratusError:
        """Return one line for an error that nobody foresaw, and keep its traceback in a file."""
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        text = "".join(traceback.format_exception(error))
        try:
            path = self.home / "last-error.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_private(path, text)
        except OSError:
            return StratusError(f"{what} (a bug in Stratus)")
        return StratusError(f"{what} (a bug in Stratus)", fix=f"where it happened: {path}")


def _write_private(path: Path, text: str) -> None:
    # A traceback may quote values that are nobody else's business.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _load(path: Path, *, files: bool) -> Settings:
    from orchestrator.config import settings

    return settings.load(path, os.environ, files=files)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
