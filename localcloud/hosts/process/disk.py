"""A machine's disk and the environment of everything that runs on it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from localcloud.hosts.process.visible_paths import user_pip_config
from localcloud.hosts.spec import HostLayout, HostSpec, SharedSettings

STAND_INS = Path(__file__).with_name("bin")

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_NETWORK = re.compile(r"(PIP_\w+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|\w+_proxy|\w+_PROXY)")
# These would send what a machine installs to a place of the user's own, or forbid installing at all.
_NOT_FOR_HOSTS = frozenset(
    f"PIP_{name}"
    for name in ("TARGET", "PREFIX", "ROOT", "USER", "LOG", "SRC", "BUILD", "PYTHON", "REQUIRE_VIRTUALENV", "CACHE_DIR")
)


def network_variables(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """What of the owner's environment a machine needs to reach the network as the owner does.

    :param environ: of the cloud's owner.
    :param home: of the cloud; its machines share one pip cache there.
    """
    kept = {name: value for name, value in environ.items() if _NETWORK.fullmatch(name)}
    kept = {name: value for name, value in kept.items() if name not in _NOT_FOR_HOSTS}
    config = user_pip_config(environ)
    if config is not None:
        kept["PIP_CONFIG_FILE"] = str(config)
    kept["PIP_CACHE_DIR"] = str(home / "cache/pip")
    return kept


def _proxy_exceptions(network: Mapping[str, str], address: str) -> Iterator[tuple[str, str]]:
    """Keep traffic to this computer off the user's proxy: the endpoint and the other machines are here."""
    if any(name.lower().endswith("_proxy") for name in network):
        for name in ("no_proxy", "NO_PROXY"):
            yield name, ",".join(filter(None, [network.get(name), f"localhost,127.0.0.1,127.0.0.0/8,{address}"]))


def shell() -> str:
    """The login shell."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def search_path(layout: HostLayout) -> str:
    """``PATH`` of everything on the machine."""
    return f"{layout.bin}:{layout.python}:{_SYSTEM_PATH}"


def environment(spec: HostSpec, surroundings: SharedSettings) -> dict[str, str]:
    """All variables a process of the machine starts with; nothing of the owner's but the way to the network."""
    layout = HostLayout(spec.folder, spec.user)
    return {
        **surroundings.network,
        **dict(_proxy_exceptions(surroundings.network, spec.address)),
        **spec.environment,
        "HOME": str(layout.home),
        "USER": spec.user,
        "LOGNAME": spec.user,
        "SHELL": shell(),
        "PATH": search_path(layout),
        "LANG": "C.UTF-8",
        "TMPDIR": str(layout.tmp),
        "LOCALCLOUD_INSTANCE": spec.instance_id,
    }


def prepare(spec: HostSpec, surroundings: SharedSettings) -> None:
    """Make the disk ready for a boot; what is there already stays, the state of the last boot does not."""
    layout = HostLayout(spec.folder, spec.user)
    shutil.rmtree(layout.run, ignore_errors=True)
    for folder in (layout.tmp, layout.run, layout.host_keys, layout.cloud / "scripts/per-boot"):
        folder.mkdir(parents=True, exist_ok=True)
    for private in (layout.home, layout.authorized_keys.parent):
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.bin.mkdir(exist_ok=True)
    for stand_in in STAND_INS.iterdir():
        # An installed package may have lost its modes.
        Path(shutil.copyfile(stand_in, layout.bin / stand_in.name)).chmod(0o755)
    (spec.folder / "etc/hostname").write_text(spec.hostname + "\n")
    os.mkfifo(layout.control, 0o600)
    _install_python(layout, surroundings.python)
    _write_profile(spec, layout)


def _install_python(layout: HostLayout, python: Path) -> None:
    # A link would make virtual environments look for the standard library beside it.
    layout.python.mkdir(exist_ok=True)
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        shim = layout.python / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} "$@"\n')
        shim.chmod(0o755)


def _write_profile(spec: HostSpec, layout: HostLayout) -> None:
    """Give login shells the machine's PATH, which /etc/profile takes away, and a prompt with the machine's name."""
    profile, interactive = layout.home / ".profile", layout.home / ".bashrc"
    if not profile.exists():
        path = shlex.quote(search_path(layout))
        profile.write_text(f'export PATH={path}\n[ -z "$BASH_VERSION" ] || . "$HOME/.bashrc"\n')
    if not interactive.exists():
        interactive.write_text(f"case $- in *i*) PS1='{spec.user}@{spec.hostname}:\\w$ ' ;; esac\n")
