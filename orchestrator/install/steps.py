"""Install steps of a job as plain values: names, scripts, arguments.

Pure: :mod:`orchestrator.install.installer` carries the steps out, all of a host's in one round trip.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError
from orchestrator.install.upload import Upload, scan
from orchestrator.jobs.spec import JobSpec
from orchestrator.jobs.storage.data_items import DataItem

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings
    from orchestrator.install.registry_login import RegistryLogin

S3_MARK = "/.stratus-manifest.json"
"""File that stage.py writes into a folder when all objects have arrived."""


NOTEBOOK_ENVIRONMENT = ".jupyter"
"""Name of the environment of JupyterLab, beside those of jobs: no job's name begins with a dot."""

NOTEBOOK_PACKAGES = "jupyterlab>=4\nipykernel\n"


@dataclass(frozen=True)
class Step:
    """One check, and the change to make if it fails.

    :param name: shown during the install: ``python``, ``requirements``, ``data``, ``code``...
    :param script: a file of ``orchestrator/remote/steps``.
    :param args: its arguments.
    :param upload: the folder that it may request from this computer.
    :param only_check: make no change; a check that fails is reported.
    """

    name: str
    script: str
    args: tuple[str, ...]
    upload: Upload | None = None
    only_check: bool = False

    @property
    def plan_line(self) -> str:
        """Return the step as a line of the plan that ``install.sh`` reads.

        :raises UsageError: an argument has a character that no line can hold.
        """
        if any(set("\n\0") & set(arg) for arg in self.args):
            raise UsageError(f"step {self.name}: a line break or NUL in {' '.join(self.args)!r}")
        return shlex.join([self.name + "?" * self.only_check, self.script, *self.args])


@dataclass(frozen=True)
class InstallPlan:
    """All steps of a host, in order, and the small files that are sent with them.

    :param files: name in the bundle -> content.
    :param login: to the registry of the job's image; its password is sent when a host requests it.
    """

    steps: tuple[Step, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    login: RegistryLogin | None = None

    @property
    def uploads(self) -> dict[str, Upload]:
        """Uploads that hosts may request, by name."""
        return {step.upload.name: step.upload for step in self.steps if step.upload}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files in the folders of the uploads that look like credentials, and are not uploaded."""
        return tuple(name for upload in self.uploads.values() for name in upload.left_out)

    @property
    def plan_file(self) -> bytes:
        """Content of the file that ``install.sh`` reads."""
        return "".join(step.plan_line + "\n" for step in self.steps).encode()


def install_plan(
    spec: JobSpec,
    settings: InstallSettings,
    login: RegistryLogin | None = None,
    *,
    hashes_folder: Path | None = None,
) -> InstallPlan:
    """Return everything a host needs before it can run the job.

    :param login: to the registry of its image, or of the image that its Dockerfile starts from.
    :param hashes_folder: keeps digests of large files between calls; None hashes them anew.
    """
    environment = environment_plan(spec, settings, login)
    # The code first: the Dockerfile is part of it, and setup commands may call its scripts.
    steps = (*_code_steps(spec, hashes_folder), *environment.steps, *_data_steps(spec, hashes_folder))
    return replace(environment, steps=steps)


def environment_plan(spec: JobSpec, settings: InstallSettings, login: RegistryLogin | None = None) -> InstallPlan:
    """Return what a host needs before it can run the job, apart from its code and data.

    :param login: as for :func:`install_plan`.
    """
    files: dict[str, bytes] = {}
    if settings.ca_bundle:
        files["ca.pem"] = read_user_file(settings.ca_bundle)
    steps: list[Step] = []
    if spec.runtime == "docker":
        steps += _docker_steps(spec, login)
        if not spec.options.image:
            # In a file: pip's options may hold a password, which any user of the host could read on a command line.
            files["build.env"] = _env_file(build_arguments(settings))
    # Hosts fetch from S3 with boto3, which needs an environment also where the job itself runs in a container.
    if spec.runtime == "venv" or spec.uses_s3_on_hosts:
        steps += _venv_steps(spec, settings, files)
    return InstallPlan(tuple(steps), files, login)


def check_plan(plan: InstallPlan) -> InstallPlan:
    """Return the same plan as checks: nothing is changed, and what is missing is reported."""
    return replace(plan, steps=tuple(replace(step, only_check=True) for step in plan.steps))


def environment_digest(spec: JobSpec, settings: InstallSettings) -> str:
    """Return a digest of :func:`environment_plan`: hosts with the same one have the same installed."""
    # Without the login, which is no part of what is installed.
    plan = environment_plan(spec, settings)
    return _digest(plan.plan_file + plan.files.get("ca.pem", b""))[:32]


def notebook_plan(settings: InstallSettings) -> InstallPlan:
    """Return what a host needs to serve notebooks: JupyterLab, in an environment of its own."""
    return _program_plan("jupyterlab", NOTEBOOK_ENVIRONMENT, NOTEBOOK_PACKAGES, settings)


def tensorboard_plan(settings: InstallSettings) -> InstallPlan:
    """Return what a host needs to show logs in TensorBoard, in an environment of its own."""
    return _program_plan("tensorboard", ".tensorboard", "tensorboard>=2\n", settings)


def _program_plan(name: str, environment: str, packages: str, settings: InstallSettings) -> InstallPlan:
    files: dict[str, bytes] = {}
    if settings.ca_bundle:
        files["ca.pem"] = read_user_file(settings.ca_bundle)
    python = Step("python", "python.sh", (environment, "python3", "no"))
    requirements = _requirements_step(environment, packages, "python3", settings, files)
    return InstallPlan((python, replace(requirements, name=name)), files)


def images_to_pull(spec: JobSpec, settings: InstallSettings) -> list[str]:
    """Return the names of images that a host may pull for the job; of a build, the values of its arguments."""
    if spec.runtime != "docker":
        return []
    return [spec.options.image] if spec.options.image else list(build_arguments(settings).values())


def build_arguments(settings: InstallSettings) -> dict[str, str]:
    """Return the arguments of ``docker build``, name -> value; pip's own options are one of them."""
    arguments = dict(word.split("=", 1) for word in shlex.split(settings.build_args))
    return ({"PIP_OPTIONS": settings.pip_options} if settings.pip_options else {}) | arguments


def build_digest(settings: InstallSettings) -> str:
    """Return a digest of the input of an image build besides its folder; empty if there is none."""
    certificates = read_user_file(settings.ca_bundle) if settings.ca_bundle else b""
    build_input = _env_file(build_arguments(settings)) + certificates
    return _digest(build_input) if build_input else ""


def run_plan(spec: JobSpec, settings: InstallSettings, *, hashes_folder: Path | None = None) -> InstallPlan:
    """Return the steps that a run begins with: the code as it is now, and checks of all that it needs besides.

    :param hashes_folder: as for :func:`install_plan`.
    """
    checks: list[Step] = []
    if spec.runtime == "docker":
        checks.append(Step("image", "present.sh", ("image", spec.image)))
    if spec.runtime == "venv" or spec.checkpoints or spec.staged_data:
        # The digest of the requirements is among the arguments; their text is not needed to check.
        checks += _venv_steps(spec, settings, {})
    checks += _data_checks(spec, hashes_folder)
    return InstallPlan((*_code_steps(spec, hashes_folder), *(replace(step, only_check=True) for step in checks)))


def read_user_file(path: str) -> bytes:
    """Return the content of a small file that the settings name."""
    return Path(path).expanduser().read_bytes()


def _env_file(values: dict[str, str]) -> bytes:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()).encode()


def _code_steps(spec: JobSpec, hashes_folder: Path | None) -> Sequence[Step]:
    name = f"{spec.name}.code"
    upload = scan(
        name,
        spec.folder,
        spec.code_path,
        excluded=spec.excluded_names,
        allowed=spec.allowed_files,
        withheld=spec.withheld_files,
        hashes_folder=hashes_folder,
    )
    return [_upload_step("code", upload)]


def _upload_step(name: str, upload: Upload) -> Step:
    return Step(name, "parcel.sh", (upload.name, upload.digest, upload.remote_path), upload)


def _venv_steps(spec: JobSpec, settings: InstallSettings, files: dict[str, bytes]) -> Sequence[Step]:
    text = spec.requirements_text
    if spec.uses_s3_on_hosts:
        text += "\nboto3\n"
    interpreter = spec.options.environment or spec.options.python
    requirements = _requirements_step(spec.name, text, interpreter, settings, files)
    # Apart from fetching data, what a container needs is in its image.
    own_steps = _own_steps(spec, settings, files) if spec.runtime == "venv" else [_python_step(spec)]
    return [*own_steps, requirements]


def _requirements_step(
    environment: str, text: str, interpreter: str, settings: InstallSettings, files: dict[str, bytes]
) -> Step:
    """Return the step that installs packages into an environment; their list is added to `files`."""
    files["requirements.txt"] = text.encode()
    pip_options = shlex.split(settings.pip_options)
    # The host installs again only when this changed: everything that decides what pip installs is part of it.
    digest = _digest(shlex.join([text, *pip_options, interpreter]).encode())
    return Step("requirements", "requirements.sh", (environment, digest, "requirements.txt", *pip_options))


def _own_steps(spec: JobSpec, settings: InstallSettings, files: dict[str, bytes]) -> Sequence[Step]:
    """Return the steps before the requirements: packages of the system, the environment, the job's own commands."""
    options, steps = spec.options, []
    if options.apt_packages:
        steps.append(Step("packages", "packages.sh", (spec.name, *options.apt_packages.split())))
    if options.environment:
        content = files["environment.yml"] = (spec.folder / options.environment).read_bytes()
        steps.append(Step("conda", "conda.sh", (spec.name, _digest(content), "environment.yml", settings.conda)))
    else:
        steps.append(_python_step(spec))
    if options.setup:
        content = files["setup"] = f"{options.setup}\n".encode()
        steps.append(Step("setup", "setup.sh", (spec.name, _digest(content), "setup", spec.code_path)))
    return steps


def _python_step(spec: JobSpec) -> Step:
    shared = "yes" if spec.options.system_packages else "no"
    return Step("python", "python.sh", (spec.name, spec.options.python, shared))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _docker_steps(spec: JobSpec, login: RegistryLogin | None) -> Sequence[Step]:
    registry = (login.registry, login.user) if login else ("", "")
    image = spec.options.image
    args = ("pull", image, *registry) if image else ("build", spec.built_image, *registry, spec.code_path)
    return [Step("engine", "engine.sh", ()), Step("gpu", "gpu.sh", ()), Step("image", "image.sh", args)]


def _named_data(spec: JobSpec) -> list[tuple[str, DataItem]]:
    """Return the job's data that the install brings, with the names of their steps."""
    names = [("data" if len(spec.data) == 1 else f"data-{number}", item) for number, item in enumerate(spec.data)]
    return [(name, item) for name, item in names if not (item.is_staged_at_start or item.is_file_system)]


def _data_steps(spec: JobSpec, hashes_folder: Path | None) -> Sequence[Step]:
    steps = []
    for name, item in _named_data(spec):
        if item.is_s3:
            steps.append(Step(name, "s3.sh", (spec.name, item.source, spec.remote_path(item), *item.flags)))
        else:
            steps.append(_upload_step(name, _data_upload(spec, item, hashes_folder)))
    return steps


def _data_checks(spec: JobSpec, hashes_folder: Path | None) -> Sequence[Step]:
    """Return the steps that compare local data, by its digest, and look for data of S3."""
    checks = []
    for name, item in _named_data(spec):
        if item.is_s3:
            # Presence only: a listing of S3 would delay every run.
            checks.append(Step(name, "present.sh", ("path", spec.remote_path(item) + S3_MARK)))
        else:
            checks.append(replace(_upload_step(name, _data_upload(spec, item, hashes_folder)), upload=None))
    return checks


def _data_upload(spec: JobSpec, item: DataItem, hashes_folder: Path | None) -> Upload:
    source, name = spec.folder / item.source, f"{spec.name}.data-{spec.data_id(item)}"
    allowed, withheld = spec.allowed_files, spec.withheld_files
    return scan(name, source, spec.remote_path(item), allowed=allowed, withheld=withheld, hashes_folder=hashes_folder)
