"""Paths that a host may read: everything that programs need, nothing of the user's own.

Landlock has permissions but no exceptions. "Everything but the home folder" therefore becomes the list of all siblings
of the home folder, of its parent, and so on up to the root.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import pwd
import re
import site
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

# Run on a host with their full path, these would act on the user's computer instead of the host.
_POWER_TOOLS = ("shutdown", "poweroff", "reboot", "halt", "telinit", "systemctl", "systemd-run", "loginctl", "busctl")
_PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf")
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "PIP_CLIENT_CERT")
_AWS_FILES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
_FILE_URL = re.compile(r"^file://(?:localhost)?(?=/)")


def paths_without(hidden: Collection[Path], root: Path = Path("/")) -> list[Path]:
    """Return the highest paths at or below ``root`` that contain none of ``hidden``.

    :param hidden: resolved paths.
    """
    if root in hidden:
        return []
    if not any(path.is_relative_to(root) for path in hidden):
        return [root]
    # The target of a symbolic link is listed at its own place, unless it is hidden there.
    return [
        path for entry in _entries(root) if not entry.is_symlink() for path in paths_without(hidden, Path(entry.path))
    ]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def private_paths(environ: Mapping[str, str]) -> set[Path]:
    """Return folders that no host may see: the user's home, the temporary folder, AWS files kept elsewhere."""
    homes = {Path(environ.get("HOME") or "/")}
    # In a container, the user may have no entry in the password database.
    with contextlib.suppress(KeyError):
        homes.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    places = {Path("/tmp"), Path(tempfile.gettempdir())}
    for home in homes:
        # The home of a container's user may be "/": then the folders with secrets are hidden.
        places |= {home} if home.resolve() != Path("/") else {Path("/.aws"), Path("/.ssh"), Path("/.config")}
    places |= {Path(environ[name]) for name in _AWS_FILES if environ.get(name)}
    # Hiding the root would hide everything; AWS files are often set to /dev/null.
    return {place.resolve() for place in places} - {Path("/"), Path(os.devnull)}


def power_tools() -> set[Path]:
    """Return the programs that switch this computer off, with links resolved."""
    programs = set()
    for folder in ("/sbin", "/bin", "/usr/sbin", "/usr/bin"):
        for name in _POWER_TOOLS:
            path = Path(folder, name).resolve()
            # With busybox, one program is all tools, and hiding it would remove the shell.
            if path.name in _POWER_TOOLS and path.is_file():
                programs.add(path)
    return programs


def toolchain_paths() -> set[Path]:
    """Return the paths of the interpreter and its libraries, often inside the user's home, and of this package."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    packages = {*site.getsitepackages(), site.getusersitepackages()}
    return {
        *(Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)),
        *(Path(package) for package in packages),
        Path(base).resolve(),
        Path(__file__).resolve().parents[2],
    }


def user_pip_config(environ: Mapping[str, str]) -> Path | None:
    """Return the user's pip configuration, which a host's new home folder would hide.

    The files and their order are pip's: ``PIP_CONFIG_FILE``, ``$XDG_CONFIG_HOME/pip/pip.conf``, ``~/.pip/pip.conf``.
    """
    home = Path(environ.get("HOME") or "/")
    configs = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    from_variable = [Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else []
    return next(
        (path for path in [*from_variable, configs / "pip/pip.conf", home / ".pip/pip.conf"] if path.exists()), None
    )


def network_files(environ: Mapping[str, str]) -> set[Path]:
    """Return the files and folders that pip and CA settings name: wheels, certificates, the settings themselves."""
    config = user_pip_config(environ)
    settings = [value for name, value in environ.items() if name.startswith("PIP_") or name in _CA_VARIABLES]
    files = [*map(Path, _PIP_FILES), *([config] if config else [])]
    named = {path for value in [*settings, *_pip_values(files)] for path in _paths(value)}
    return {path for path in {*named, *files} if path.exists()}


def _pip_values(files: Iterable[Path]) -> Iterator[str]:
    # Raw, because URLs in pip's settings may contain percent signs.
    parser = configparser.RawConfigParser()
    for file in files:
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
    for section in parser.sections():
        yield from (value for _, value in parser.items(section))


def _paths(value: str) -> Iterator[Path]:
    for word in value.split():
        path = _FILE_URL.sub("", word)
        if path.startswith("/"):
            yield Path(path)


def shared_paths(environ: Mapping[str, str]) -> set[Path]:
    """Return the folders in LOCALCLOUD_READABLE that hosts may read, such as an environment that jobs share."""
    paths = environ.get("LOCALCLOUD_READABLE", "").split(os.pathsep)
    return {Path(word) for word in paths if word and Path(word).exists()}


def readable_paths(home: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the roots that a host may read.

    :param home: the cloud's folder; hidden, so that hosts do not see each other.
    :param environ: environment of the cloud's owner.
    """
    hidden = private_paths(environ) | {home.resolve()}
    extra = (path.resolve() for path in toolchain_paths() | network_files(environ) | shared_paths(environ))
    # A setting may name a folder that contains the home folder; it stays hidden then.
    narrow = sorted(path for path in extra if not any(place.is_relative_to(path) for place in hidden))
    return (*paths_without(hidden), *narrow)


def executable_paths(roots: Iterable[Path]) -> tuple[Path, ...]:
    """Return the readable paths from which a host may run programs: all but the tools that switch this computer off."""
    tools = power_tools()
    return tuple(path for root in roots for path in paths_without(tools, root))
