"""Disk of a process host, and the environment of everything that runs on it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from localcloud.hosts.process.visible_paths import user_pip_config
from localcloud.hosts.spec import HostLayout, HostSpec, SharedSettings

STAND_INS = Path(__file__).with_name("bin")
FAULTY_STAND_INS = Path(__file__).with_name("faulty_bin")
"""Those of hosts with faults of packages, which have a sudo and an apt-get."""

GPU_STAND_INS = Path(__file__).with_name("gpu_bin")
"""Those of hosts whose instance type has NVIDIA GPUs: its driver's tool, and its messages."""

EFA_STAND_INS = Path(__file__).with_name("efa_bin")

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_NETWORK = re.compile(r"(PIP_\w+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|\w+_proxy|\w+_PROXY)")
# These would direct what a host installs to the user's own folders, or forbid installing.
_NOT_FOR_HOSTS = frozenset(
    f"PIP_{name}"
    for name in ("TARGET", "PREFIX", "ROOT", "USER", "LOG", "SRC", "BUILD", "PYTHON", "REQUIRE_VIRTUALENV", "CACHE_DIR")
)


def network_variables(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the owner's variables that a host needs for the network.

    :param environ: environment of the cloud's owner.
    :param home: folder of the cloud; its hosts share a pip cache there.
    """
    variables = {name: value for name, value in environ.items() if _NETWORK.fullmatch(name)}
    variables = {name: value for name, value in variables.items() if name not in _NOT_FOR_HOSTS}
    config = user_pip_config(environ)
    # A host has a home folder of its own, in which pip would find no configuration.
    if config is not None:
        variables["PIP_CONFIG_FILE"] = str(config)
    variables["PIP_CACHE_DIR"] = str(home / "cache/pip")
    return variables


def _proxy_exceptions(network: Mapping[str, str], address: str) -> Iterator[tuple[str, str]]:
    """Yield the variables that keep traffic to this computer off the user's proxy: endpoint and hosts are here."""
    if any(name.lower().endswith("_proxy") for name in network):
        for name in ("no_proxy", "NO_PROXY"):
            yield name, ",".join(filter(None, [network.get(name), f"localhost,127.0.0.1,127.0.0.0/8,{address}"]))


def _unreachable_index(faults: Sequence[str]) -> dict[str, str]:
    """Return pip's variables on a host without a way to the Internet, or without DNS."""
    kinds = {fault.split()[0] for fault in faults}
    if not kinds & {"no-route", "no-dns"}:
        return {}
    # On loopback: a process host shares the network of its computer. Nothing listens on the port discard.
    index = "https://pypi.invalid/simple" if "no-dns" in kinds else "https://127.0.0.1:9/simple"
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}


def shell() -> str:
    """Return the login shell."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def search_path(layout: HostLayout) -> str:
    """Return ``PATH`` of everything on the host."""
    return f"{layout.bin}:{layout.python}:{_SYSTEM_PATH}"


def environment(spec: HostSpec, shared: SharedSettings) -> dict[str, str]:
    """Return all variables of the host's processes; from the owner, only those for the network."""
    layout = HostLayout(spec.folder, spec.user)
    return {
        **shared.network,
        **dict(_proxy_exceptions(shared.network, spec.address)),
        **spec.environment,
        **_unreachable_index(spec.package_faults),
        "HOME": str(layout.home),
        "USER": spec.user,
        "LOGNAME": spec.user,
        "SHELL": shell(),
        "PATH": search_path(layout),
        "LANG": "C.UTF-8",
        "TMPDIR": str(layout.tmp),
        "LOCALCLOUD_INSTANCE": spec.instance_id,
    }


def prepare(spec: HostSpec, shared: SharedSettings) -> None:
    """Prepare the disk for a boot; existing files stay, the state of the last boot is removed."""
    layout = HostLayout(spec.folder, spec.user)
    # The named pipe and cloud-init's result belong to one boot.
    shutil.rmtree(layout.run, ignore_errors=True)
    for folder in (layout.tmp, layout.run, layout.host_keys, layout.cloud / "scripts/per-boot"):
        folder.mkdir(parents=True, exist_ok=True)
    # sshd and ssh require these modes, and so do tools that check them.
    for private in (layout.home, layout.authorized_keys.parent):
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.bin.mkdir(exist_ok=True)
    conditions = {FAULTY_STAND_INS: spec.package_faults, GPU_STAND_INS: spec.gpus, EFA_STAND_INS: spec.has_efa_software}
    folders = [STAND_INS, *(folder for folder, condition in conditions.items() if condition)]
    for stand_in in (path for folder in folders for path in folder.iterdir()):
        # Installation as a Python package may have lost the files' modes.
        Path(shutil.copyfile(stand_in, layout.bin / stand_in.name)).chmod(0o755)
    (spec.folder / "etc/hostname").write_text(spec.hostname + "\n")
    (layout.run / "package-faults").write_text("".join(_until(fault) + "\n" for fault in spec.package_faults))
    (layout.run / "gpus").write_text("".join(f"{gpu}\n" for gpu in spec.gpus))
    os.mkfifo(layout.control, 0o600)
    # Where the stand-in of mount finds them; what was mounted before a reboot is not any more.
    (layout.run / "filesystems").write_text(f"{shared.file_systems}\n")
    _unmount_all(spec.folder)
    _install_python(layout, shared.python)
    _write_profile(spec, layout)


def _unmount_all(folder: Path) -> None:
    fstab = folder / "etc/fstab"
    for line in fstab.read_text().splitlines() if fstab.exists() else ():
        point = Path(next(iter(line.split()[1:2]), ""))
        if point.is_symlink():
            point.unlink()


def _until(fault: str) -> str:
    """Return a fault of packages with the time of its end, in seconds since 1970."""
    kind, seconds, amount = fault.split()
    return f"{kind} {int(seconds) and int(time.time()) + int(seconds)} {amount}"


def _install_python(layout: HostLayout, python: Path) -> None:
    # Not a symbolic link: virtual environments would look for the standard library beside it.
    layout.python.mkdir(exist_ok=True)
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        wrapper = layout.python / name
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} "$@"\n')
        wrapper.chmod(0o755)


def _write_profile(spec: HostSpec, layout: HostLayout) -> None:
    """Write profiles: /etc/profile would replace the host's PATH, and the prompt shows the host's name."""
    profile, interactive = layout.home / ".profile", layout.home / ".bashrc"
    if not profile.exists():
        path = shlex.quote(search_path(layout))
        profile.write_text(f'export PATH={path}\n[ -z "$BASH_VERSION" ] || . "$HOME/.bashrc"\n')
    if not interactive.exists():
        interactive.write_text(f"case $- in *i*) PS1='{spec.user}@{spec.hostname}:\\w$ ' ;; esac\n")
