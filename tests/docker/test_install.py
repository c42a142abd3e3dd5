"""Images of jobs: pulled with and without a login, built, and refused, with a real engine and a real registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import localcloud
from orchestrator.core.errors import UsageError
from tests.support.docker import registry as docker_registry
from tests.support.docker.install_watch import ChannelCounter, ProcessWatch, files_containing
from tests.support.docker.registry import Registry, docker
from tests.support.project import Project, add_install_settings
from tests.support.script_host import ScriptHost, states

PASSWORD = "canary-registry-Qx7Qx7Qx7"


@pytest.fixture(scope="module")
def open_registry(registry_program: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without a login."""
    with docker_registry.serve(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def closed_registry(registry_program: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with a login."""
    with docker_registry.serve(tmp_path_factory.mktemp("closed"), "me", PASSWORD) as registry:
        yield registry


# -- one script on one host: a home folder, a real sh, the real engine


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    """A VM with a Docker engine and nothing else."""
    (tmp_path / "home").mkdir()
    return ScriptHost(tmp_path / "home")


def pull(vm: ScriptHost, name: str) -> tuple[list[str], str, str]:
    """Pull an image; return the state of the step, its last line, and the fix."""
    _, lines = vm.install([["image", "image.sh", "pull", name, "", ""]])
    fix = next((line.removeprefix("@@fix ") for line in lines if line.startswith("@@fix ")), "")
    plain = [line for line in lines if line and not line.startswith("@@")]
    return states(lines), plain[-1] if plain else "", fix


def test_a_pull_tells_how_far_it_is_and_what_came(vm: ScriptHost, open_registry: Registry, layered: str) -> None:
    """By digest; progress in bytes, as far as the registry reports sizes."""
    name = open_registry.push(layered, "layered:1")
    docker("rmi", layered)
    _, lines = vm.install([["image", "image.sh", "pull", name, "", ""]])
    _, again = vm.install([["image", "image.sh", "pull", name, "", ""]])
    docker("rmi", name)

    assert states(lines) == ["image done"]
    assert states(again) == ["image unchanged"]
    said = [line for line in lines if line.startswith("@@say pulled")]
    assert said
    assert said[-1] == "@@say pulled 3 of 3 layers (5 MB of 5 MB)"
    (image,) = (line for line in again if line.startswith("@@image"))
    assert image.split()[1].startswith("sha256:")
    assert name in image.split()


def test_an_image_that_is_not_there(vm: ScriptHost, open_registry: Registry) -> None:
    ended, said, fix = pull(vm, f"{open_registry.host}/nothing:7")

    assert ended == ["image failed"]
    assert said == f"the registry {open_registry.host} has no {open_registry.host}/nothing:7 (manifest unknown)"
    assert fix == "correct image in job.ini: name and tag"


def test_an_image_behind_a_login(vm: ScriptHost, closed_registry: Registry) -> None:
    _, said, fix = pull(vm, f"{closed_registry.host}/secret:1")

    assert said.startswith(f"{closed_registry.host} requires a login for {closed_registry.host}/secret:1")
    assert fix.startswith(f"set [install] registry = {closed_registry.host}, registry_user and registry_password_env")


@pytest.mark.slow
def test_a_registry_that_does_not_answer_is_asked_three_times(vm: ScriptHost, engine: None) -> None:
    host = f"127.0.0.1:{docker_registry.free_port()}"
    _, lines = vm.install([["image", "image.sh", "pull", f"{host}/x:1", "", ""]])

    assert sum("; again in " in line for line in lines) == 2
    assert f"the registry {host} does not respond to this VM in three attempts: " in "\n".join(lines)
    assert states(lines) == ["image failed"]


def test_an_image_for_another_architecture(vm: ScriptHost, open_registry: Registry, image: str) -> None:
    """Some versions of the engine only warn, and the job then fails with an exec format error."""
    docker("load", stdin=docker_registry.for_architecture("arm64", image, "stratus-test/arm:1"))
    name = open_registry.push("stratus-test/arm:1", "arm:1")
    docker("rmi", "stratus-test/arm:1")
    ended, said, fix = pull(vm, name)

    assert ended == ["image failed"]
    assert said == f"{name} has no image for this VM's architecture, amd64"
    assert "name one for amd64 in job.ini" in fix


class Limited(BaseHTTPRequestHandler):
    """A registry whose pull limit is exceeded: the answer of Docker Hub."""

    def do_GET(self) -> None:
        limited = "/manifests/" in self.path
        words = {"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}
        body = json.dumps({"errors": [words]} if limited else {}).encode()
        self.send_response(429 if limited else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_a_registry_whose_limit_of_pulls_is_reached(vm: ScriptHost, engine: None) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Limited) as limited:
        threading.Thread(target=limited.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{limited.server_address[1]}"
        ended, said, fix = pull(vm, f"{host}/x:1")
        limited.shutdown()

    assert ended == ["image failed"]
    assert said == f"{host}: pull limit reached (toomanyrequests) in three attempts"
    assert fix.startswith(f"log in: [install] registry = {host}")


# -- a build


def build(vm: ScriptHost, tag: str, **files: bytes) -> list[str]:
    """Build ~/stratus/jobs/job."""
    status, lines = vm.install([["image", "image.sh", "build", tag, "", "", "jobs/job"]], None, **files)
    assert status == (0 if "@@step image failed" not in "\n".join(lines) else 1)
    return lines


@pytest.fixture
def context(vm: ScriptHost, image: str) -> Path:
    """The code of a job with a Dockerfile as examples have it."""
    folder = vm.home / "stratus/jobs/job"
    folder.mkdir(parents=True)
    (folder / "need.txt").write_text("x\n")
    lines = [f"FROM {image}", "ARG PIP_OPTIONS=", "ARG LEVEL=none", "COPY need.txt ca.pe[m] /job/"]
    (folder / "Dockerfile").write_text("\n".join([*lines, 'RUN echo "$PIP_OPTIONS|$LEVEL" >/said\n']))
    return folder


def test_arguments_and_certificates_reach_a_build_and_nothing_stays_behind(vm: ScriptHost, context: Path) -> None:
    lines = build(
        vm, "stratus-test/built:1", **{"build.env": b"PIP_OPTIONS='--index-url x'\nLEVEL='a b;c'\n", "ca.pem": b"CERT"}
    )
    said = docker("run", "--rm", "--network", "none", "stratus-test/built:1", "cat", "/said", "/job/ca.pem")
    docker("rmi", "stratus-test/built:1")

    assert states(lines) == ["image done"]
    assert said == "--index-url x|a b;c\nCERT"
    assert any(line.startswith("@@say Step 5/5 : RUN echo") for line in lines)
    assert sorted(path.name for path in context.iterdir()) == ["Dockerfile", "need.txt"]
    assert not list((vm.home / "stratus").glob(".b*"))


def test_a_build_that_fails_says_which_command_did(vm: ScriptHost, context: Path) -> None:
    text = (context / "Dockerfile").read_text()
    (context / "Dockerfile").write_text(text + "RUN echo 'ERROR: No matching distribution found for x' && exit 1\n")
    lines = build(vm, "stratus-test/built:2")

    assert states(lines) == ["image failed"]
    assert lines[-2].startswith("the Dockerfile did not build: ERROR: No matching distribution found for x")


# -- the whole way, from the config file to the container


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Iterator[dict[str, str]]:
    """An embedded cloud."""
    home = tmp_path_factory.mktemp("cloud")
    yield {**localcloud.up(home, pending=0.2, boot=0.05, bound_to=os.getpid()), "HOME_OF_IT_ALL": str(home)}
    localcloud.down(home)


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """Two hosts that are up."""
    made = Project(tmp_path, f"d{abs(hash(request.node.name)) % 10**6}", cloud)
    made.job("single = true\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        yield made
        assert session.cluster.terminate().remaining == ()


def logins_left_in_memory(cloud_home: Path) -> list[Path]:
    """Return the folders that logins on a cloud's process hosts left in memory, and those of no other cloud."""
    roots = [home / "stratus" for home in cloud_home.glob("machines/*/home/*")]
    assert roots
    left: list[Path] = []
    for root in roots:
        digest = subprocess.run(
            ["cksum"], input=f"{root}\n", capture_output=True, text=True, check=True
        ).stdout.split()[0]
        left += Path("/dev/shm").glob(f"stratus-login.{digest}.*")
    return left


def test_a_private_image_is_pulled_and_its_password_leaves_no_trace(
    project: Project, closed_registry: Registry, layered: str
) -> None:
    """Not in arguments or environment of a process, a file, a log, the journal or an event."""
    name = closed_registry.push(layered, "private:1")
    (project.folder / "secret").mkdir()
    (project.folder / "secret/password").write_text(PASSWORD + "\n")
    add_install_settings(
        project, f"registry = {closed_registry.host}\nregistry_user = me\nregistry_password_env = secret/password\n"
    )
    project.job(f"runtime = docker\nimage = {name}\nsingle = cat /etc/hostname || true\n")
    counted = ChannelCounter()
    with project.session(connect=counted.connect) as session:
        with ProcessWatch(PASSWORD) as watch:
            first = session.jobs.install()
        before = len(counted.hosts)
        second = session.jobs.install()
        channels = counted.hosts[before:]
    left = [
        path
        for place in (project.folder, Path(project.env["HOME_OF_IT_ALL"]))
        for path in files_containing(place, PASSWORD)
    ]
    docker("rmi", name)

    assert not first.failed, first.failed
    assert {host.image.split()[1] for host in first.hosts} == {name}
    assert watch.rounds > 3
    assert watch.findings == []
    assert left == [str(project.folder / "secret/password")]
    assert logins_left_in_memory(Path(project.env["HOME_OF_IT_ALL"])) == []
    assert not [event for event in project.events if PASSWORD in event.text]
    assert second.changed == 0
    assert sorted(channels) == sorted(host.host for host in first.hosts)


def test_a_wrong_password_is_one_clear_line(project: Project, closed_registry: Registry, image: str) -> None:
    (project.folder / "wrong").write_text("not-it")
    add_install_settings(
        project, f"registry = {closed_registry.host}\nregistry_user = me\nregistry_password_env = ./wrong\n"
    )
    project.job(f"runtime = docker\nimage = {closed_registry.host}/private:9\nsingle = true\n")
    with project.session() as session:
        report = session.jobs.install()

    said = {str(error).splitlines()[0].partition(": ")[2] for error in report.failed.values()}
    what = (
        f"{closed_registry.host} refuses the login of me, "
        f"or me has no access to {closed_registry.host}/private:9 (denied)"
    )
    assert said == {f"image failed: {what}"}


def test_a_password_that_is_not_where_the_config_says_stops_before_any_host(project: Project, engine: None) -> None:
    add_install_settings(project, "registry = ghcr.io\nregistry_user = me\nregistry_password_env = NO_SUCH_VARIABLE\n")
    project.job("runtime = docker\nimage = ghcr.io/me/job:1\nsingle = true\n")
    with project.session() as session, pytest.raises(UsageError, match="variable NO_SUCH_VARIABLE is not set"):
        session.jobs.install()


def test_a_login_by_aws(
    project: Project, registry_program: None, tmp_path_factory: pytest.TempPathFactory, image: str
) -> None:
    """``registry = ecr``: the token that AWS makes is the password; one call for all hosts, none for a check."""
    import base64

    ecr = project.session().context.clients.service("ecr")
    answer = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, token = base64.b64decode(answer).decode().partition(":")
    with docker_registry.serve(tmp_path_factory.mktemp("ecr"), user, token) as like_ecr:
        name = like_ecr.push(image, "job:1")
        add_install_settings(project, "registry = ecr\n")
        project.job(f"runtime = docker\nimage = {name}\nsingle = true\n")
        project.calls.clear()
        with project.session() as session:
            first, second = session.jobs.install(), session.jobs.install()
        docker("rmi", name)

    assert not first.failed, first.failed
    assert (first.changed > 0, second.changed) == (True, 0)
    assert project.calls.count("GetAuthorizationToken") == 1


def test_a_run_whose_image_changed_since_builds_it_and_pulls_nothing(project: Project, image: str) -> None:
    """A registry could hold an image of that name, published by anyone."""
    job = project.job("runtime = docker\nsingle = true\n", Dockerfile=f"FROM {image}\n")
    with project.session() as session:
        assert not session.jobs.install().failed
        tag = session.jobs.load_job().built_image
        (job / "Dockerfile").write_text(f"FROM {image}\nENV A=1\n")
        handle = session.jobs.start(multi=False)
        session.jobs.follow(handle.run_id, on_line=lambda host, line: None)
        new_tag = session.jobs.load_job().built_image
    docker("rmi", tag, new_tag)

    assert new_tag != tag
    assert not [event for event in project.events if "pull" in event.text]


EXAMPLE = Path(__file__).parent.parent.parent / "examples/cloud_retrieval"
CHECK = """\
import dask, distributed, h5py, sklearn
from retrieval import pipeline
print("all there", pipeline.__name__)
"""


@pytest.fixture
def base(engine: None) -> str:
    """An image with Python 3.11 that needs no registry."""
    name = "stratus-base:bookworm"
    if os.environ.get("CI") == "true":
        subprocess.run([EXAMPLE.parent.parent / "scripts/base-image"], check=True, capture_output=True)
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        pytest.skip(f"no {name} here (scripts/base-image makes it; CI does)")
    return name


@pytest.mark.slow
def test_the_example_is_built_from_its_dockerfile_and_finds_its_packages(project: Project, base: str) -> None:
    """Whatever its job.ini says it runs in: the config file has the last word."""
    skip = shutil.ignore_patterns("data", "granules_data", "outputs", "__pycache__")
    job = shutil.copytree(EXAMPLE, project.folder / "job", ignore=skip, dirs_exist_ok=True)
    (job / "check.py").write_text(CHECK)
    (job / "job.ini").write_text("[job]\nrequirements = requirements.txt\nsingle = python check.py\n")
    project.config.write_text(f"{project.config.read_text()}runtime = docker\n")
    add_install_settings(project, f"build_args = BASE={base}\n")
    lines: list[str] = []
    with project.session() as session:
        first, second = session.jobs.install(), session.jobs.install()
        assert not first.failed, first.failed
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        tag = session.jobs.load_job().built_image
    docker("rmi", tag)

    assert second.changed == 0
    assert lines == ["all there retrieval.pipeline"]
    assert any("Step 1/" in event.text for event in project.events)
