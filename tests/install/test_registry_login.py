"""Logins to registries: which image needs one, and the source of its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.settings import InstallSettings
from orchestrator.config.value_types import Secret
from orchestrator.core.errors import UsageError
from orchestrator.install import registry_login

ECR_IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/job:1"


def no_token(region: str) -> Secret:
    raise AssertionError(region)


def test_only_images_of_the_settings_registry_need_its_login() -> None:
    options = InstallSettings(registry="ghcr.io", registry_user="me", registry_password_env="TOKEN")
    env = {"TOKEN": "s3cret"}
    login = registry_login.find_login(no_token, options, ["ghcr.io/me/job:1"], env)

    assert login
    assert (login.registry, login.user, login.password().reveal()) == ("ghcr.io", "me", "s3cret")
    assert "s3cret" not in repr(login)
    assert registry_login.find_login(no_token, options, ["python:3.11"], env) is None
    with pytest.raises(UsageError, match="variable TOKEN is not set"):
        registry_login.find_login(no_token, options, ["ghcr.io/me/job:1"], {})


def test_a_token_of_ecr_is_fetched_once_for_all_hosts_and_again_after_an_error() -> None:
    regions: list[str] = []

    def token(region: str) -> Secret:
        regions.append(region)
        if len(regions) == 1:
            raise TimeoutError("ECR")
        return Secret("token")

    login = registry_login.find_login(token, InstallSettings(), [ECR_IMAGE], {})
    assert login
    assert (login.user, regions) == ("AWS", [])
    with pytest.raises(TimeoutError, match="ECR"):
        login.password()

    assert [login.password().reveal() for _ in range(3)] == ["token"] * 3
    assert regions == ["eu-central-1"] * 2


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3.11", "docker.io"),
        ("me/job", "docker.io"),
        ("ghcr.io/me/job:1", "ghcr.io"),
        ("host:5000/job@sha256:1", "host:5000"),
    ],
)
def test_the_registry_of_an_image_is_the_one_docker_pulls_from(image: str, registry: str) -> None:
    assert registry_login.registry_of(image) == registry


def test_a_password_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    options = InstallSettings(
        registry="r.example.com", registry_user="me", registry_password_env=str(tmp_path / "password")
    )
    login = registry_login.find_login(no_token, options, ["r.example.com/x"], {})
    assert login
    assert login.password().reveal() == "s3cret"

    (tmp_path / "password").unlink()
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        registry_login.find_login(no_token, options, ["r.example.com/x"], {})
