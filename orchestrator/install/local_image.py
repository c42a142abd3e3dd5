"""Container images on this computer: built and pushed with its Docker engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep, Text
from orchestrator.install import steps
from orchestrator.install.registry_login import RegistryLogin
from orchestrator.install.upload import Upload
from orchestrator.jobs.spec import JobSpec

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings

PLATFORM = "linux/amd64"
"""Of SageMaker's instances, also where this computer has another architecture."""
_MANAGED_DOCKERFILE = """\
FROM {image}
COPY train serve /usr/local/bin/
ENTRYPOINT []
"""
# Tuning takes no command of its own: SageMaker runs `train` of the image.
_TRAIN = """\
#!/bin/sh
exec sh /opt/ml/input/data/code/train.sh "$@"
"""
_ANSWER_S = 30.0
# BuildKit: SageMaker takes no index of images, which attestations make of one.
_BUILD_VARIABLES = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "BUILDKIT_PROGRESS": "plain"}
# "Step 2/5 : RUN ..." of the classic builder, "#7 [2/5] RUN ..." of BuildKit.
_STEP = re.compile(r"(Step \d+/\d+|#\d+ \[[^\]]*\d/\d+\]) ")


@dataclass(frozen=True)
class LocalEngine:
    """The Docker engine of this computer, by its command line.

    :param environ: environment of the commands.
    :param on_step: called with each step of a build.
    :param timeout_s: for each build and each push.
    """

    environ: Mapping[str, str]
    on_step: Callable[[str], None]
    timeout_s: float

    def check(self) -> None:
        """Check that there is an engine and that it may be used.

        :raises UsageError: it cannot be used.
        """
        if shutil.which("docker", path=self.environ.get("PATH")) is None:
            raise UsageError(
                "building an image needs Docker on this computer, and there is no docker here",
                fix="install it (https://docs.docker.com/engine/install/), or build and push elsewhere",
            )
        status, output = self._run(["version", "--format", "{{.Server.Version}}"], timeout_s=_ANSWER_S)
        if status:
            raise UsageError(
                f"the Docker engine of this computer cannot be used: {_last_line(output, status)}",
                fix="start it (sudo systemctl start docker), or join its group (sudo usermod -aG docker $USER)",
            )

    def build(self, code: Upload, image: str, arguments: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        """Build an image from a folder with a Dockerfile.

        :param code: files of the folder; the build's context has no others.
        :param arguments: of the build.
        :param files: name -> content of further files in the context.
        :raises StratusError: the build failed.
        """
        with tempfile.TemporaryDirectory(prefix="stratus-build-") as folder:
            for file in code.files:
                place = Path(folder) / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.path, place, follow_symlinks=not file.link)
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self._build(folder, image, arguments)

    def add_commands(self, image: str, managed: str) -> None:
        """Build an image that has in addition the commands ``train`` and ``serve``, which SageMaker runs.

        :param image: its base.
        :param managed: name of the new image.
        :raises StratusError: the build failed.
        """
        with tempfile.TemporaryDirectory(prefix="stratus-build-") as folder:
            for name, text in (("train", _TRAIN), ("serve", remote_scripts.text("serve.sh"))):
                script = Path(folder) / name
                script.write_text(text, encoding="utf-8")
                script.chmod(0o755)
            (Path(folder) / "Dockerfile").write_text(_MANAGED_DOCKERFILE.format(image=image), encoding="utf-8")
            self._build(folder, managed, {})

    def push(self, image: str, name: str, login: RegistryLogin) -> str:
        """Push an image, and return its digest: ``sha256:...``.

        :param name: in the registry, with the tag: ``stratus/job:tag``.
        :raises StratusError: the registry refused.
        """
        remote = f"{login.registry}/{name}"
        self._checked(["tag", image, remote], f"naming {remote}")
        try:
            with self._logged_in(login) as options:
                output = self._checked([*options, "push", remote], f"pushing {remote}")
        finally:
            self._run(["image", "rm", remote], timeout_s=_ANSWER_S)
        digest = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
        if digest is None:
            raise StratusError(f"pushing {remote}: no digest in docker's output: {_last_line(output, 0)}")
        return digest[1]

    @contextmanager
    def _logged_in(self, login: RegistryLogin) -> Iterator[list[str]]:
        """Log in with a configuration that exists for this push only; the user's own is not changed."""
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="stratus-login-", dir=place) as folder:
            # The user's configuration names the engine, such as that of Docker Desktop.
            options = ["--config", folder, "--host", self._engine_host()]
            command = [*options, "login", "--username", login.user, "--password-stdin", login.registry]
            self._checked(command, f"logging in to {login.registry}", stdin=login.password().reveal().encode())
            yield options

    def _engine_host(self) -> str:
        if host := self.environ.get("DOCKER_HOST"):
            return host
        command = ["context", "inspect", "--format", "{{json .Endpoints.docker.Host}}"]
        status, output = self._run(command, timeout_s=_ANSWER_S)
        return "unix:///var/run/docker.sock" if status else str(json.loads(output))

    def _build(self, folder: str, image: str, arguments: Mapping[str, str]) -> None:
        # Without values: docker takes them from its environment, so that they are not in argv.
        named = [word for name in arguments for word in ("--build-arg", name)]
        command = ["build", "--platform", PLATFORM, "--tag", image, *named, folder]
        self._checked(command, f"building {image}", variables={**_BUILD_VARIABLES, **arguments})

    def _checked(
        self, words: Sequence[str], action: str, *, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> str:
        status, output = self._run(words, timeout_s=self.timeout_s, stdin=stdin, variables=variables)
        if status:
            raise StratusError(f"{action}: {_last_line(output, status)}")
        return output

    def _run(
        self, words: Sequence[str], *, timeout_s: float, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command of docker; return its exit status and its output."""
        process = subprocess.Popen(
            ["docker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.environ, **(variables or {})},
        )
        deadline = threading.Timer(timeout_s, process.kill)
        deadline.start()
        try:
            with process:
                lines = self._communicate(process, stdin)
        finally:
            deadline.cancel()
            # After Ctrl-C: the engine ends a build whose client is gone.
            process.kill()
        return process.returncode, "".join(lines)

    def _communicate(self, process: subprocess.Popen[bytes], stdin: bytes) -> list[str]:
        assert process.stdin is not None
        assert process.stdout is not None
        # A command that has ended already reads no password.
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
        lines = []
        for raw in process.stdout:
            lines.append(line := raw.decode(errors="replace"))
            if _STEP.match(line):
                self.on_step(line.strip())
        return lines


def managed_name(job: JobSpec, settings: InstallSettings) -> str:
    """Return the name of a job's image in ECR; its tag follows from what it is built from."""
    if not job.options.image:
        return replace(job, build_digest=steps.build_digest(settings)).built_image
    return f"stratus/{job.name}:{hashlib.sha256(job.options.image.encode()).hexdigest()[:12]}"


def missing_fix(job: JobSpec) -> Text:
    """Return what to do if the image of a job is not in ECR."""
    if ".dkr.ecr." in job.options.image:
        return "push it there, or correct image in job.ini"
    if job.options.image or (job.folder / "Dockerfile").is_file():
        return NextStep("PushImage", *([job.named] if job.named else [])) + "  builds it and pushes it there"
    return "[sagemaker] training_image in the config names one, or add a Dockerfile to the job"


def _last_line(output: str, status: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if status < 0:
        return f"no end in time, or ended by signal {-status}"
    return lines[-1] if lines else f"exit status {status}"
