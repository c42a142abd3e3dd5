"""Images of this computer's engine: built with SageMaker's commands, and pushed to a registry with a login."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.config.value_types import Secret
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.install import upload
from orchestrator.install.local_image import LocalEngine
from orchestrator.install.registry_login import RegistryLogin
from tests.support.docker.registry import Registry, docker, serve

PASSWORD = "token-of-twelve-hours"


@pytest.fixture
def registry(registry_program: None, tmp_path: Path) -> Iterator[Registry]:
    """A registry that requires a login, as ECR does."""
    folder = tmp_path / "registry"
    folder.mkdir()
    with serve(folder, "AWS", PASSWORD) as running:
        yield running


def spy_on_docker(folder: Path) -> dict[str, str]:
    """Return an environment in which docker writes down its arguments and its environment."""
    (folder / "docker").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >>{folder}/seen\nenv >>{folder}/seen\nexec /usr/bin/env -u X "$REAL" "$@"\n'
    )
    (folder / "docker").chmod(0o755)
    real = subprocess.run(["sh", "-c", "command -v docker"], capture_output=True, text=True, check=True).stdout.strip()
    return {**os.environ, "REAL": real, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_an_image_is_built_without_credentials_and_pushed_with_a_login(
    image: str, registry: Registry, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "Dockerfile").write_text(f"FROM {image}\nARG NAME\nCOPY . /job\nRUN echo $NAME >/name\n")
    (job / "train.py").write_text("print(1)\n")
    (job / ".env").write_text("PASSWORD=hidden\n")
    (job / "run.sh").write_text("#!/bin/sh\n")
    (job / "run.sh").chmod(0o755)
    name, spied = f"stratus-test/job:{os.getpid()}", tmp_path / "bin"
    spied.mkdir()
    steps: list[str] = []
    engine = LocalEngine(spy_on_docker(spied), steps.append, 300)
    try:
        engine.check()
        engine.build(upload.scan("code", job, "jobs/x"), name, {"NAME": "of-the-argument"}, {"ca.pem": b"CA"})
        engine.add_commands(name, f"{name}-managed")
        login = RegistryLogin(registry.host, "AWS", lambda: Secret(PASSWORD))
        digest = engine.push(f"{name}-managed", "stratus/job:1", login)

        files = docker("run", "--rm", f"{name}-managed", "sh", "-c", "cat /name; cd /job; echo *; cat .env || true")
        assert files.split() == ["of-the-argument", "Dockerfile", "ca.pem", "run.sh", "train.py"]
        commands = docker("run", "--rm", f"{name}-managed", "cat", "/usr/local/bin/train", "/usr/local/bin/serve")
        assert "exec sh /opt/ml/input/data/code/train.sh" in commands
        assert "/opt/ml" in commands.partition("train.sh")[2]
        assert docker("inspect", "-f", "{{json .Config.Entrypoint}}", f"{name}-managed").strip() in ("null", "[]")
        docker("pull", "-q", f"{registry.host}/stratus/job@{digest}") if not registry.config else docker(
            *registry.config, "pull", "-q", f"{registry.host}/stratus/job@{digest}"
        )
        assert steps
        seen = (spied / "seen").read_text()
        assert PASSWORD not in seen
        assert "--password-stdin" in seen
        assert not list(Path("/dev/shm").glob("stratus-login-*"))

        wrong = RegistryLogin(registry.host, "AWS", lambda: Secret("wrong"))
        with pytest.raises(StratusError, match=f"logging in to {registry.host}: "):
            engine.push(f"{name}-managed", "stratus/job:1", wrong)
        (job / "Dockerfile").write_text(f"FROM {image}\nRUN false\n")
        with pytest.raises(StratusError, match=f"building {name}: ") as caught:
            engine.build(upload.scan("code", job, "jobs/x"), name, {}, {})
        assert len(str(caught.value).splitlines()) == 1
    finally:
        for tag in (name, f"{name}-managed", f"{registry.host}/stratus/job:1"):
            subprocess.run(["docker", "image", "rm", "-f", tag], capture_output=True, check=False)


def test_without_docker_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no docker here"):
        LocalEngine({"PATH": str(tmp_path)}, print, 5).check()


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.raises(UsageError, match="cannot be used: Cannot connect to the Docker daemon"):
        LocalEngine(environ, print, 5).check()
