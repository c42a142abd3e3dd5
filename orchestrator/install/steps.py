"""What has to be on a host before a job can run there, as values: names, scripts, arguments.

Nothing here acts. :mod:`orchestrator.install.installer` carries the steps out, all of a host's in one round trip.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError
from orchestrator.install.upload import Upload, scan
from orchestrator.jobs.spec import JobSpec

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings
    from orchestrator.install.registry_login import RegistryLogin


@dataclass(frozen=True)
class Step:
    """One thing to check, and to do when the check says no.

    :param name: what the board calls it: ``python``, ``requirements``, ``data``, ``code``...
    :param script: a file of ``orchestrator/remote/steps``.
    :param words: its arguments.
    :param parcel: the folder it may ask the laptop for.
    """

    name: str
    script: str
    args: tuple[str, ...]
    upload: Upload | None = None

    @property
    def plan_line(self) -> str:
        """The step as a line of the plan that ``install.sh`` reads.

        :raises UsageError: a word holds what no line can.
        """
        if any(set("\n\0") & set(word) for word in self.args):
            raise UsageError(f"step {self.name}: a line break or NUL in {' '.join(self.args)!r}")
        return shlex.join([self.name, self.script, *self.args])


@dataclass(frozen=True)
class InstallPlan:
    """All steps of a host, in order, and the small files that travel with them.

    :param files: name in the bundle -> content.
    :param login: to the registry of the job's image; its password travels when a host asks for it.
    """

    steps: tuple[Step, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    login: RegistryLogin | None = None

    @property
    def uploads(self) -> dict[str, Upload]:
        """The parcels that hosts may ask for, by name."""
        return {step.upload.name: step.upload for step in self.steps if step.upload}

    @property
    def plan_file(self) -> bytes:
        """The plan file."""
        return "".join(step.plan_line + "\n" for step in self.steps).encode()


def install_plan(spec: JobSpec, settings: InstallSettings, login: RegistryLogin | None = None) -> InstallPlan:
    """Return what a host needs before it can run the job.

    :param login: to the registry that its image, or what that is built on, comes from.
    """
    files: dict[str, bytes] = {}
    if settings.ca_bundle:
        files["ca.pem"] = read_user_file(settings.ca_bundle)
    steps = [*_code_steps(spec)]
    if spec.runtime == "docker":
        steps += _docker_steps(spec, login)
        if not spec.options.image:
            files["build.env"] = _env_file(build_arguments(settings))
    if spec.runtime == "venv" or any(item.is_s3 for item in spec.data):
        steps = [*_venv_steps(spec, settings, files), *steps]
    return InstallPlan((*steps, *_data_steps(spec)), files, login)


def images_to_pull(spec: JobSpec, settings: InstallSettings) -> list[str]:
    """Return the names of images that a host may pull for the job; of a build, whatever its arguments name."""
    if spec.runtime != "docker":
        return []
    return [spec.options.image] if spec.options.image else list(build_arguments(settings).values())


def build_arguments(settings: InstallSettings) -> dict[str, str]:
    """Return the arguments of ``docker build``, name -> value; pip's own options are one of them."""
    given = dict(word.split("=", 1) for word in shlex.split(settings.build_args))
    return ({"PIP_OPTIONS": settings.pip_options} if settings.pip_options else {}) | given


def build_digest(settings: InstallSettings) -> str:
    """Return a digest of all that goes into an image besides its folder; empty when that is nothing."""
    certificates = read_user_file(settings.ca_bundle) if settings.ca_bundle else b""
    made_of = _env_file(build_arguments(settings)) + certificates
    return hashlib.sha256(made_of).hexdigest() if made_of else ""


def _env_file(values: dict[str, str]) -> bytes:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()).encode()


def code_sync_plan(spec: JobSpec) -> InstallPlan:
    """Return the one step that a run begins with: the code as it is on the laptop now."""
    return InstallPlan(tuple(_code_steps(spec)))


def read_user_file(path: str) -> bytes:
    """Read a small file that the user named."""
    return Path(path).expanduser().read_bytes()


def _code_steps(spec: JobSpec) -> Sequence[Step]:
    goods = scan(f"{spec.name}.code", spec.folder, spec.code_path, excluded=spec.excluded_names)
    return [Step("code", "parcel.sh", (goods.name, goods.digest, goods.remote_path), goods)]


def _venv_steps(spec: JobSpec, settings: InstallSettings, files: dict[str, bytes]) -> Sequence[Step]:
    text = spec.requirements_text
    if any(item.is_s3 for item in spec.data):
        text += "\nboto3\n"
    files["requirements.txt"] = text.encode()
    options = shlex.split(settings.pip_options)
    digest = hashlib.sha256(shlex.join([text, *options, spec.options.python]).encode()).hexdigest()
    python = Step(
        "python", "python.sh", (spec.name, spec.options.python, "yes" if spec.options.system_packages else "no")
    )
    return [python, Step("requirements", "requirements.sh", (spec.name, digest, "requirements.txt", *options))]


def _docker_steps(spec: JobSpec, login: RegistryLogin | None) -> Sequence[Step]:
    who = (login.registry, login.user) if login else ("", "")
    image = spec.options.image
    how = ("pull", image, *who) if image else ("build", spec.built_image, *who, spec.code_path)
    return [Step("engine", "engine.sh", ()), Step("gpu", "gpu.sh", ()), Step("image", "image.sh", how)]


def _data_steps(spec: JobSpec) -> Sequence[Step]:
    made = []
    for number, item in enumerate(spec.data):
        name = "data" if len(spec.data) == 1 else f"data-{number}"
        place = spec.remote_path(item)
        if item.is_s3:
            made.append(Step(name, "s3.sh", (spec.name, item.source, place)))
        else:
            goods = scan(f"{spec.name}.data-{number}", spec.folder / item.source, place)
            made.append(Step(name, "parcel.sh", (goods.name, goods.digest, goods.remote_path), goods))
    return made
