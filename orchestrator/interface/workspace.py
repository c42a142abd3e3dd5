"""The workspace of all verbs: config file, settings, session, console, and what has to be closed at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import json_file
from orchestrator.core.clock import Clock
from orchestrator.core.errors import ConfigError, Problem, StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.console import Console
from orchestrator.interface.progress import ProgressBoard
from orchestrator.interface.render import units

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.session import Session

SessionFactory = Callable[..., "Session"]

FileState = tuple[int, int, int]

SHOWN_WARNINGS = "shown-warnings.json"
"""Warnings about config files that were printed: absolute path of the file -> their texts."""


def find_config(folder: Path) -> Path:
    """Return the config file of a folder.

    :raises UsageError: there is none.
    """
    for name in ("config/config.ini", "config.ini"):
        if (folder / name).is_file():
            # Relative, as the user would type it: hints and messages quote this path.
            return Path(name) if folder == Path() else folder / name
    raise UsageError(
        "no config file here: neither config/config.ini nor config.ini",
        fix=NextStep("Config", "init") + "  writes one, and a small job that runs as it is",
    )


def open_session(settings: Settings, **options: Any) -> Session:
    """Open the real session; imported late, because a prompt and ``--help`` do without."""
    from orchestrator.session import Session

    return Session(settings, **options)


def default_home() -> Path:
    """Return the folder for everything that is kept on this computer."""
    from orchestrator.session import default_home

    return default_home()


class Workspace:
    """Config file, session and console of one user.

    The file is read again whenever it changed; if it then holds mistakes, they are shown and the earlier settings stay.

    :param config: the config file; None looks for one in the working directory when it is first needed.
    :param assume_yes: do not ask for confirmation of prices: a script was started by name.
    :param session_factory: opens a session, called as :class:`orchestrator.session.Session` is.
    :param adapt: adapts the settings of a config file to the cloud.
    :param home: folder for keys, journal and the last traceback; None: the default one.
    """

    def __init__(
        self,
        config: Path | None,
        console: Console,
        clock: Clock,
        *,
        assume_yes: bool = False,
        session_factory: SessionFactory = open_session,
        adapt: Callable[[Settings], Settings] = lambda settings: settings,
        home: Path | None = None,
    ) -> None:
        self.console = console
        self.assume_yes = assume_yes
        self.clock = clock
        self.progress = ProgressBoard(console, clock)
        self.last_answer: object = None
        # True once a verb has opened something that is closed with the session.
        self.holds_open = False
        self.open_until = "you exit"
        self._config = config
        self._session_factory = session_factory
        self._adapt = adapt
        self._home = home
        self._file_state: FileState | None = None
        self._shown_warnings: tuple[Problem, ...] = ()
        self._settings: Settings | None = None
        # Of a file with mistakes: they serve to end VMs, and no other verb.
        self._only_ending = False
        self._session: Session | None = None
        self._closing = contextlib.ExitStack()
        # The prompt's status poller uses the session from a thread of its own while a verb may use it.
        self._lock = threading.RLock()

    @property
    def config(self) -> Path:
        """The config file.

        :raises UsageError: none was named and none is here.
        """
        if self._config is None:
            self._config = find_config(Path())
        return self._config

    @property
    def named_config(self) -> Path | None:
        """The config file that was named, even if it does not exist; None when none was."""
        return self._config

    @property
    def home(self) -> Path:
        """Folder for keys, journal and the last traceback."""
        if self._home is None:
            self._home = default_home()
        return self._home

    def use_config(self, config: Path) -> None:
        """Use another config file from now on.

        :raises ConfigError: it holds mistakes; then nothing changes.
        """
        # Before anything is assigned: a file with mistakes must not replace one that works.
        settings = self._adapt(_load(config, files=True))
        self._config, self._file_state = config, _file_state(config)
        self._replace_settings(settings)

    def settings(self, *, files: bool = True, only_ending: bool = False) -> Settings:
        """Return the settings as the file is now.

        :param files: True if the files that it names have to exist; terminating VMs needs none of them.
        :param only_ending: True if they serve to end VMs only, which other settings' mistakes do not prevent.
        :raises ConfigError: the first reading found mistakes.
        """
        with self._lock:
            state = _file_state(self.config)
            if self._settings is None or state != self._file_state:
                self._read(state, files=files, only_ending=only_ending)
            assert self._settings is not None
            return self._settings

    def _read(self, state: FileState, *, files: bool, only_ending: bool) -> None:
        try:
            settings = self._adapt(_load(self.config, files=files))
        except ConfigError as error:
            if self._settings is None or self._only_ending:
                self._read_for_ending(error, is_enough=only_ending)
                return
            count = units.count(len(error.problems), "mistake")
            self.console.print_error([*map(str, error.problems), f"{count}. The earlier settings stay."])
            # Noted as read: the same mistakes are not repeated at every verb.
            self._file_state = state
            return
        # Settings that were read without their files are read again by the next verb that needs them.
        self._file_state, self._only_ending = state if files else None, False
        self._replace_settings(settings)

    def _read_for_ending(self, error: ConfigError, *, is_enough: bool) -> None:
        """Read a file with mistakes for a verb that ends VMs, and show them.

        :param error: the mistakes.
        :param is_enough: False: any other verb, for which the mistakes are raised.
        """
        if not is_enough:
            raise error
        settings = self._adapt(_load(self.config, files=False, only_ending=True))
        count = units.count(len(error.problems), "mistake")
        self.console.print_error([*map(str, error.problems), f"{count}. Ending VMs does not need these settings."])
        # Read again by the next verb, which may need them.
        self._file_state, self._only_ending = None, True
        self._replace_settings(settings)

    def _replace_settings(self, settings: Settings) -> None:
        # A save that changed nothing must not close connections and tunnels.
        if settings == self._settings:
            return
        if settings.warnings and self._is_news(settings):
            self.show_warnings(settings)
        self._settings = settings
        self._close_session()

    def show_warnings(self, settings: Settings) -> None:
        """Print the warnings about a config file that this process has not printed yet."""
        self.console.print_error([str(warning) for warning in settings.warnings if warning not in self._shown_warnings])
        self._shown_warnings = settings.warnings

    def _is_news(self, settings: Settings) -> bool:
        """Return True if the warnings about this file were never printed on this computer, and note them."""
        known, key = json_file.load(self.home, SHOWN_WARNINGS), str(settings.path.absolute())
        # Without their lines, which move with every line that is added above.
        texts = [warning.message for warning in settings.warnings]
        if known.get(key) == texts:
            return False
        # On a full disk, or in a read-only folder, they are printed again.
        with contextlib.suppress(OSError):
            json_file.save(self.home, SHOWN_WARNINGS, {**known, key: texts})
        return True

    def session(self, *, files: bool = True, only_ending: bool = False) -> Session:
        """Return the session for the settings as they are now.

        :param files: as in :meth:`settings`.
        :param only_ending: as in :meth:`settings`.
        """
        with self._lock:
            settings = self.settings(files=files, only_ending=only_ending)
            # Opened by the first verb that needs it: a session imports boto3 and looks for credentials.
            if self._session is None:
                self._session = self._session_factory(
                    settings, home=self.home, runs=Path("runs"), on_event=self.progress.handle
                )
            return self._session

    @property
    def label(self) -> str:
        """Name of the cloud in the prompt, by the settings as they were read last."""
        return self._settings.aws.label if self._settings else "stratus"

    def close_later(self, close: Callable[[], object]) -> None:
        """Close something together with the session: a tunnel, for one."""
        self.holds_open = True
        self._closing.callback(close)

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            # Before the session: tunnels run over its connections.
            self._closing.close()
            session.close()

    def close(self) -> None:
        """Close tunnels and connections; nothing in the cloud changes."""
        self._close_session()

    def report_bug(self, error: Exception) -> StratusError:
        """Return a one-line error for an unexpected exception, and keep its traceback in a file."""
        if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("orchestrator"):
            fix = "scripts/setup installs it into .venv of a checkout; pip install /path/to/stratus into another one"
            return StratusError(f"the package {error.name} is missing in {sys.executable}", fix=fix)
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return StratusError(f"{error.strerror} on this computer", where=str(error.filename or ""))
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        text = "".join(traceback.format_exception(error))
        path = self.home / "last-error.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_private(path, text)
        # A full disk must not hide the error itself.
        except OSError:
            return StratusError(f"{message} (a bug in Stratus)")
        return StratusError(f"{message} (a bug in Stratus)", fix=f"traceback: {path}")


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)
"""Of this computer's disk: nothing that a traceback would explain."""


def _write_private(path: Path, text: str) -> None:
    # A traceback may quote secrets: readable by its owner only.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _load(path: Path, *, files: bool, only_ending: bool = False) -> Settings:
    from orchestrator.config import settings

    return settings.load(path, os.environ, files=files, only_ending=only_ending)


def _file_state(path: Path) -> FileState:
    """Return what changes when the file is edited: editors replace a file as often as they write into it."""
    try:
        facts = path.stat()
    except OSError:
        # A missing file has a state as well, so that its creation is noticed.
        return (0, 0, 0)
    return (facts.st_mtime_ns, facts.st_size, facts.st_ino)
