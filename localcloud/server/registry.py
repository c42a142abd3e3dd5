"""Container registry for rehearsals, in the roles of Docker Hub and ECR.

It is Debian's ``docker-registry``, on two addresses with one store: on loopback, where this computer's engine pushes
without a setting for insecure registries, and on the address of the cloud's endpoint, where docker hosts pull.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from localcloud.core.errors import LocalCloudError
from localcloud.hosts.docker.engine import docker
from localcloud.server import control_client

PORT = 5000
USER = "AWS"
"""User name for every password that ECR issues."""
_PROGRAM = "docker-registry"
_DEADLINE_S = 30.0


@dataclass(frozen=True)
class RegistryInfo:
    """Addresses and password of a registry.

    :param address: ``host:port`` for hosts; the first part of its images' names.
    :param push: ``host:port`` for this computer.
    :param password: password of ``USER``; empty if access is open.
    """

    address: str
    push: str
    password: str = ""


class Registry:
    """A registry that runs until ``close``, or until the thread that started it ends; a context manager.

    :param folder: its storage; created.
    :param env: environment of the cloud whose hosts use it, and whose ECR issues its password from now on.
    :param login: True if it requires a password.
    :raises LocalCloudError: ``docker-registry`` is not installed, or does not answer.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], *, login: bool = False) -> None:
        if not shutil.which(_PROGRAM):
            raise LocalCloudError(f"a registry needs the program {_PROGRAM}: sudo apt install {_PROGRAM}")
        self._folder, self._url = folder, env["AWS_ENDPOINT_URL"]
        folder.mkdir(parents=True, exist_ok=True)
        gateway = urlsplit(self._url).hostname
        password = secrets.token_urlsafe(24) if login else ""
        self.info = RegistryInfo(f"{gateway}:{PORT}", f"127.0.0.1:{_free_port()}", password)
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for address in (self.info.push, self.info.address):
                self._serve(address)
            control_client.announce_registry(self._url, self.info.address, password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def push(self, image: str, name: str) -> str:
        """Push an image of this computer's engine.

        :param name: name in the registry, with a tag: ``team/job:1``.
        :returns: the image's name on a host, with its digest.
        :raises EngineError: the engine cannot push it.
        """
        # Pushed by the loopback address, for which engines allow plain HTTP.
        local = f"{self.info.push}/{name}"
        docker("tag", image, local)
        try:
            stdout = docker("--config", str(self._engine_config()), "push", local, timeout_s=600)
        finally:
            docker("image", "rm", local)
        # "1: digest: sha256:... size: 528"
        digest = next(word for word in reversed(stdout.split()) if word.startswith("sha256:"))
        return f"{self.info.address}/{name.rpartition(':')[0]}@{digest}"

    def close(self) -> None:
        """Stop it; pushed images stay in its folder."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def _serve(self, address: str) -> None:
        from localcloud.core.process_tree import die_with_parent

        file = self._folder / f"{address.replace(':', '-')}.json"
        # The format is YAML, of which JSON is a subset.
        file.write_text(json.dumps(self._settings(address)), encoding="utf-8")
        with (self._folder / "registry.log").open("ab") as log:
            process = subprocess.Popen(
                [_PROGRAM, "serve", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A registry must not outlive a test or script that is killed.
                preexec_fn=functools.partial(die_with_parent, signal.SIGTERM, os.getpid()),
            )
        self._processes.append(process)
        deadline = time.monotonic() + _DEADLINE_S
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalCloudError(f"{_PROGRAM} does not answer on {address} (log: {self._folder / 'registry.log'})")
            time.sleep(0.05)

    def _settings(self, address: str) -> dict[str, Any]:
        store = {"filesystem": {"rootdirectory": str(self._folder / "store")}}
        settings: dict[str, Any] = {"version": 0.1, "log": {"level": "warn"}, "storage": store}
        settings["http"] = {"addr": address, "secret": secrets.token_hex(8)}
        if self.info.password:
            settings["auth"] = {"htpasswd": {"realm": "registry", "path": str(self._passwords())}}
        return settings

    def _passwords(self) -> Path:
        import bcrypt

        # The comment at the end names the registry of this password: the folder may have served another one before.
        file = self._folder / "htpasswd"
        if not file.exists() or not file.read_text().endswith(f"# {self.info.push}\n"):
            password_hash = bcrypt.hashpw(self.info.password.encode(), bcrypt.gensalt(4)).decode()
            file.write_text(f"{USER}:{password_hash}\n# {self.info.push}\n")
            file.chmod(0o600)
        return file

    def _engine_config(self) -> Path:
        """Return a folder for ``docker --config`` with the password; the user's own configuration is not changed."""
        folder = self._folder / "engine"
        folder.mkdir(exist_ok=True, mode=0o700)
        credentials = base64.b64encode(f"{USER}:{self.info.password}".encode()).decode()
        auths = {self.info.push: {"auth": credentials}} if self.info.password else {}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))
        return folder


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _answers(address: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError):
        try:
            direct.open(f"http://{address}/v2/", timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code == 401
        return True
    return False
