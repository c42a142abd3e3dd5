"""A container registry on this computer: Debian's docker-registry, with or without a login."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import bcrypt

CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
http: {{addr: "{host}"}}
"""
AUTH = "auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}\n"


@dataclass(frozen=True)
class Registry:
    """A running registry.

    :param host: address and port; engines use loopback addresses without TLS.
    """

    host: str
    user: str = ""
    password: str = ""

    def push(self, image: str, name: str) -> str:
        """Push a local image; return its name with digest. The local tag is removed."""
        full = f"{self.host}/{name}"
        docker("tag", image, full)
        output = docker(*self.config, "push", full)
        digest = next(word for word in output.split() if word.startswith("sha256:"))
        docker("rmi", full)
        return f"{full.rpartition(':')[0]}@{digest}"

    config: tuple[str, ...] = ()


def docker(*words: str, stdin: bytes = b"") -> str:
    """Run the Docker client; return its output."""
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def for_architecture(name: str, image: str, tag: str) -> bytes:
    """Return an archive for ``docker load``: an image marked for another architecture."""
    saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
    archive = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(saved)) as old, tarfile.open(fileobj=archive, mode="w") as new:
        files = {member.name: old.extractfile(member).read() for member in old if member.isfile()}  # type: ignore[union-attr]
        (facts,) = json.loads(files["manifest.json"])
        config = json.dumps(json.loads(files[facts["Config"]]) | {"architecture": name}).encode()
        files[facts["Config"]] = config
        files["manifest.json"] = json.dumps([facts | {"RepoTags": [tag]}]).encode()
        # The other indexes of the archive would name the image as it was.
        for path in [path for path in files if path not in ("repositories", "index.json", "oci-layout")]:
            info = tarfile.TarInfo(path)
            info.size = len(files[path])
            new.addfile(info, io.BytesIO(files[path]))
    return archive.getvalue()


def free_port() -> int:
    """Return an unused port of loopback."""
    with closing(socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serve(folder: Path, user: str = "", password: str = "") -> Iterator[Registry]:
    """Run a registry.

    :param folder: for its images.
    :param user: required for pull and push; empty: no login.
    """
    host = f"127.0.0.1:{free_port()}"
    text = CONFIG.format(folder=folder, host=host)
    if user:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        (folder / "users").write_text(f"{user}:{hashed}\n")
        text += AUTH.format(folder=folder)
    config_file, log_file = folder / "config.yml", folder / "log"
    config_file.write_text(text)
    with log_file.open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config_file)], stdout=log, stderr=log)
    try:
        _wait(process, f"http://{host}/v2/", log_file)
        config: tuple[str, ...] = ()
        if user:
            config = ("--config", str(folder / "docker"))
            docker(*config, "login", "--username", user, "--password-stdin", host, stdin=password.encode())
        yield Registry(host, user, password, config)
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
