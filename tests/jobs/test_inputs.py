"""What a job needs from elsewhere: a registry that answers by HTTP here, names as Docker reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.inputs import DOCKER_HUB, check_image, parse_image_name


class Registry(BaseHTTPRequestHandler):
    """Has one image, wants a login for another."""

    def do_HEAD(self) -> None:
        """Answer for a manifest."""
        known = {"/v2/lab/there/manifests/1.0": 200, "/v2/lab/private/manifests/latest": 401}
        self.send_response(known.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


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


def test_an_image_that_is_there_is_worth_no_word(registry: str) -> None:
    assert check_image(f"{registry}/lab/there:1.0", scheme="http") == ""


def test_an_image_that_is_not_there_stops_a_launch_with_its_name(registry: str) -> None:
    with pytest.raises(UsageError, match="has no such image") as caught:
        check_image(f"{registry}/lab/there:2.0", scheme="http")
    assert "lab/there:2.0" in str(caught.value)
    assert "image in job.ini" in caught.value.fix


def test_what_nobody_can_say_from_here_is_a_note(registry: str) -> None:
    """A registry that wants a login, and one that does not answer."""
    assert "(401)" in check_image(f"{registry}/lab/private", scheme="http")
    assert "does not answer" in check_image("127.0.0.1:1/lab/job", scheme="http")
