"""Checks of a job's inputs before a launch, with a registry that answers over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.inputs import DOCKER_HUB, check_image, checks, parse_image_name
from orchestrator.jobs.spec import load


class Registry(BaseHTTPRequestHandler):
    """A registry with one public image and one that needs a login."""

    def do_HEAD(self) -> None:
        """Answer for a manifest."""
        status = {"/v2/lab/public/manifests/1.0": 200, "/v2/lab/private/manifests/latest": 401}
        self.send_response(status.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("python", (DOCKER_HUB, "library/python", "latest")),
        ("python:3.12", (DOCKER_HUB, "library/python", "3.12")),
        ("lab/job:1", (DOCKER_HUB, "lab/job", "1")),
        ("ghcr.io/lab/job", ("ghcr.io", "lab/job", "latest")),
        ("10.0.0.5:5000/job:1", ("10.0.0.5:5000", "job", "1")),
        ("ghcr.io/lab/job:1@sha256:ab", ("ghcr.io", "lab/job", "sha256:ab")),
    ],
)
def test_an_images_name_is_read_as_docker_reads_it(name: str, parts: tuple[str, str, str]) -> None:
    assert parse_image_name(name) == parts


def test_an_image_that_exists_needs_no_line(registry: str) -> None:
    assert check_image(f"{registry}/lab/public:1.0", scheme="http") == ""


def test_an_image_that_does_not_exist_is_an_error_with_its_name(registry: str) -> None:
    with pytest.raises(UsageError, match="has no such image") as caught:
        check_image(f"{registry}/lab/public:2.0", scheme="http")
    assert "lab/public:2.0" in str(caught.value)
    assert "image in job.ini" in str(caught.value.fix)


def test_an_image_that_cannot_be_checked_is_a_line(registry: str) -> None:
    """In a registry that needs a login, and in one that does not answer."""
    assert "answered 401" in check_image(f"{registry}/lab/private", scheme="http")
    assert "does not answer" in check_image("127.0.0.1:1/lab/job", scheme="http")


def test_data_that_certainly_does_not_exist_is_an_error(job_folder: Path) -> None:
    def check(code: str) -> str:
        check_data = checks(lambda url: code, lambda: load(job_folder, {}))["s3://bucket/more"]
        return check_data()

    assert check("") == ""
    assert check("AccessDenied").startswith("s3://bucket/more: cannot be listed from this computer (AccessDenied)")
    with pytest.raises(UsageError, match="there is no bucket bucket"):
        check("NoSuchBucket")
    with pytest.raises(UsageError, match="no objects with this prefix"):
        check("NoSuchKey")


def test_a_bucket_that_a_job_writes_to_must_exist_but_may_be_empty(tmp_path: Path) -> None:
    text = "[job]\nsingle = x\ncheckpoints = state -> s3://lab/a/b\nresults = s3://lab\n"
    (tmp_path / "job.ini").write_text(text)
    urls: list[str] = []

    def check(code: str) -> list[str]:
        def find(url: str) -> str:
            urls.append(url)
            return code

        by_input = checks(find, lambda: load(tmp_path, {}))
        return [by_input[name]() for name in ("checkpoints", "results")]

    assert check("NoSuchKey") == ["", ""]
    assert check("AccessDenied")[0].startswith("s3://lab: cannot be listed from this computer")
    assert set(urls) == {"s3://lab"}
    with pytest.raises(UsageError, match="s3://lab: there is no such bucket"):
        check("NoSuchBucket")


def test_a_job_that_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    (check_job,) = checks(lambda url: "", lambda: load(tmp_path, {})).values()

    assert check_job().startswith("the job cannot be installed yet: ")
