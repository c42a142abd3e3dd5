"""``run_interface.py`` with a Python that lacks the packages, and the config that a rehearsal takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import run_interface
from orchestrator.config import settings
from orchestrator.core.errors import UsageError
from tests.support.paths import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment of its own."""
    folder = tmp_path / "stratus"
    folder.mkdir()
    shutil.copy(ROOT / "run_interface.py", folder)
    for name in ("orchestrator", "localcloud", "config"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def plain_python(checkout: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the file with a Python that has the standard library only."""
    file = "run_interface.py" if folder is None else str(checkout / "run_interface.py")
    env = {"PATH": os.environ["PATH"], "HOME": str(checkout)}
    return subprocess.run(
        [sys.executable, "-S", file, *arguments],
        cwd=folder or checkout,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_plain_python_hands_over_to_the_environment_of_the_checkout(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    python = checkout / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    done = plain_python(checkout, "-c", "import IPython; print(IPython.__name__)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "IPython\n", "")


def test_without_an_environment_one_line_names_the_command_that_creates_it(checkout: Path, tmp_path: Path) -> None:
    done = plain_python(checkout)
    assert done.returncode == 2
    first, hint = done.stderr.splitlines()
    assert first.startswith(f"{sys.executable}: missing packages: boto3, ")
    assert hint.startswith("  scripts/setup  installs them")
    assert (ROOT / "scripts/setup").stat().st_mode & 0o100

    elsewhere = plain_python(checkout, folder=tmp_path).stderr
    assert f"  {checkout}/scripts/setup  installs" in elsewhere


def test_the_module_without_its_packages_is_no_bug(checkout: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(checkout)}
    (checkout / "config.ini").write_text("[cluster]\n")
    command = [sys.executable, "-S", "-m", "orchestrator", "--config", "config.ini", "status"]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.match(r"the package \w+ is missing in ", done.stderr)
    assert "bug" not in done.stderr


def test_packages_of_the_embedded_cloud_are_named_with_the_command_that_installs_them() -> None:
    with pytest.raises(UsageError) as caught:
        run_interface.check_packages(["moto", "no_such_package"])
    assert caught.value.message.endswith("missing here: no_such_package")
    assert f"{sys.executable} -m pip install 'moto[ec2," in str(caught.value.fix)
    assert "asyncssh>=" in str(caught.value.fix)


def test_a_rehearsal_takes_the_config_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_interface.local_config() is None
    Path("config.ini").touch()
    assert run_interface.local_config() == Path("config.ini")
    Path("config").mkdir()
    Path("config/config.ini").touch()
    assert run_interface.local_config() == Path("config/config.ini")
    Path("config/local.ini").touch()
    assert run_interface.local_config() == Path("config/local.ini")
    # In the checkout: the user's config, not the one that comes with it.
    monkeypatch.chdir(ROOT)
    assert run_interface.local_config() == Path("config/config.ini")


def test_a_rehearsal_replaces_what_exists_in_a_real_account_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("REHEARSAL_SSH_PORT", "2222")
    (tmp_path / "key").touch()
    path = tmp_path / "config.ini"
    path.write_text(
        "[cluster]\ncount = 3\nimage = ami-0123456789abcdef0\n[aws]\nprofile = work\nkey_name = mine\n"
        "region = eu-west-1\nssh_from = auto\n"
        "[ssh]\nprivate_key = key\n"
    )
    adapted = run_interface.rehearsed(settings.load(path, {}))

    assert (adapted.cluster.count, adapted.aws.region) == (3, "eu-west-1")
    assert adapted.cluster.image == "ubuntu-24.04"
    assert (adapted.aws.profile, adapted.aws.key_name, adapted.ssh.private_key) == ("", "", "")
    assert (adapted.aws.endpoint_url, adapted.ssh.port) == ("http://127.0.0.1:9", 2222)
    assert (adapted.aws.ssh_from, adapted.aws.instance_profile) == ("auto", "")
    assert adapted.aws.address_url == "http://127.0.0.1:9/_localcloud/client-address"
    origins = {(section, name): origin for section, name, _, origin in settings.to_rows(adapted)}
    assert (origins["aws", "ssh_from"], origins["aws", "region"]) == ("--local", "config.ini:7")
