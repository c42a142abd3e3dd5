"""Settings read from config.ini: values, defaults, paths, warnings, origins."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from orchestrator.config import settings
from orchestrator.config.schema import options
from orchestrator.config.settings import Settings
from orchestrator.core.errors import ConfigError
from tests.support.config_files import HERE, load, outcome
from tests.support.paths import ROOT

ALL_OPTIONS = [(name, option.name) for name, table in settings.TABLES.items() if table for option in options(table)]
MANY = profile(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_an_empty_file_means_the_defaults(project: Path) -> None:
    loaded = load(project, "")

    job = dataclasses.replace(Settings().job, run=str(project / "examples/cloud_retrieval"))
    assert loaded == Settings(path=loaded.path, job=job)
    assert not loaded.warnings


def test_every_option_can_be_set(project: Path) -> None:
    loaded = load(
        project,
        """
        [cluster]
        name = lab-7            # ours
        count = 3
        instance_type = u7in-32tb.224xlarge
        image = /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
        max_hours = .5
        owner = ada@example.org
        [aws]
        region = eu-west-1
        profile = ${LAB:-lab}
        endpoint_url = http://cloud.example:4566/
        vpc_id = vpc-0123456789abcdef0
        subnet_id = subnet-5e38fc14
        security_group_id = sg-058eb4f97ec6e76be
        key_name = lab key
        instance_profile = arn:aws:iam::123456789012:instance-profile/path/ml
        ssh_from = 203.0.113.7, 198.51.100.0/24,203.0.113.7/32
        label = lab
        banner = 50% rehearsal; no AWS
        [ssh]
        user = ec2-user
        port = 2222
        private_key = lab.pem
        address = private
        connect_timeout = 3
        ready_timeout = 60.5
        [disk]
        size = 200
        type = io2
        iops = 5000
        encrypted = No
        [install]
        pip_options = --index-url https://x/simple --pre
        ca_bundle = lab.pem
        timeout = 60
        [job]
        run = examples/cloud_retrieval/
        """.replace("\n        ", "\n"),
    )

    assert loaded.cluster == settings.ClusterSettings(
        name="lab-7",
        count=3,
        instance_type="u7in-32tb.224xlarge",
        image="/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        max_hours=0.5,
        owner="ada@example.org",
    )
    assert (loaded.aws.profile, loaded.aws.banner) == ("lab", "50% rehearsal; no AWS")
    assert loaded.aws.ssh_from == "203.0.113.7/32,198.51.100.0/24"
    assert loaded.ssh == settings.SshSettings("ec2-user", 2222, str(project / "lab.pem"), "private", 3.0, 60.5)
    assert loaded.disk == settings.DiskSettings(200, "io2", 5000, 0, encrypted=False)
    assert loaded.install == settings.InstallSettings(
        "--index-url https://x/simple --pre", str(project / "lab.pem"), timeout=60.0
    )
    assert loaded.job.run == str(project / "examples/cloud_retrieval")


def test_a_file_that_lies_elsewhere_starts_its_paths_at_its_own_folder(project: Path) -> None:
    path = project / "examples" / "mine.ini"
    path.write_text("[job]\nrun = cloud_retrieval\n")

    assert settings.load(path, HERE).job.run == str(project / "examples/cloud_retrieval")


def test_another_clouds_region_may_have_any_name(project: Path) -> None:
    loaded = load(project, "[aws]\nregion = nova-1\nendpoint_url = https://cloud.example\n")

    assert loaded.aws.region == "nova-1"


def test_a_retired_image_becomes_the_nearest_available_one_with_a_warning(project: Path) -> None:
    loaded = load(project, "[cluster]\nimage = Ubuntu-16.04\n")
    (warning,) = loaded.warnings

    assert loaded.cluster.image == "ubuntu-24.04"
    assert str(warning).endswith(
        "image = 'Ubuntu-16.04' is retired: ubuntu-24.04, its nearest successor, is used instead"
    )


def test_a_retired_type_becomes_the_nearest_living_one_with_a_warning(project: Path) -> None:
    loaded = load(project, "[cluster]\ninstance_type = p3.2xlarge\n")

    assert loaded.cluster.instance_type == "g6.xlarge"
    assert [problem.message for problem in loaded.warnings] == [
        "[cluster] instance_type = 'p3.2xlarge' is retired: g6.xlarge, its nearest successor, is used instead"
    ]


def test_a_door_open_to_the_world_draws_a_warning(project: Path) -> None:
    assert not load(project, "[aws]\nssh_from = 10.0.0.0/8, 203.0.113.7/32\n").warnings
    for halves in ("10.0.0.0/8, 0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/1"):
        assert "whole internet" in str(load(project, f"[aws]\nssh_from = {halves}\n").warnings[0].message)
    (warning,) = load(project, "[aws]\nssh_from = 0.0.0.0/0\n").warnings

    assert (warning.line, "opens the VMs' SSH port to the whole internet" in str(warning.message)) == (2, True)


def test_a_rule_for_a_group_that_is_never_changed_draws_a_warning(project: Path) -> None:
    (warning,) = load(project, "[aws]\nssh_from = 10.0.0.0/8\nsecurity_group_id = sg-0123abcd\n").warnings

    assert (warning.line, "has no effect" in str(warning.message)) == (2, True)


def test_machines_can_be_ended_without_the_files_that_a_launch_needs(project: Path) -> None:
    path = project / "config" / "config.ini"
    path.write_text(
        "[aws]\nkey_name = lab\n[ssh]\nprivate_key = gone.pem\n[install]\nca_bundle = gone\n[job]\nrun = gone"
    )

    assert settings.load(path, HERE, files=False).ssh.private_key == str(project / "gone.pem")
    with pytest.raises(ConfigError, match=r"3 mistakes"):
        settings.load(path, HERE)


def test_rows_say_where_each_value_comes_from(project: Path) -> None:
    rows = settings.to_rows(load(project, "[cluster]\n\ncount = 3\n[disk]\nencrypted = off\n"))

    assert ("cluster", "count", "3", "config.ini:3") in rows
    assert ("disk", "encrypted", "no", "config.ini:5") in rows
    assert ("cluster", "max_hours", "8", "default") in rows
    assert [row[:2] for row in rows] == ALL_OPTIONS


def test_a_password_in_an_address_is_not_shown(project: Path) -> None:
    loaded = load(project, "[install]\npip_options = --index-url https://me:hunter2@pypi.example/simple\n")

    assert loaded.install.pip_options == "--index-url https://me:hunter2@pypi.example/simple"
    assert "hunter2" not in repr(loaded) + str(settings.to_rows(loaded))


@MANY
@given(note=st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1))
@example("$(touch pwned) `touch pwned` ; touch pwned & | > < * ? ~ ! ' \" \\")
@example("x; touch f #")
def test_a_hostile_value_that_can_be_seen_survives_unchanged(project: Path, note: str) -> None:
    plain = note.strip().replace(" #", "#").replace(" ;", ";").replace("${", "$ {").lstrip("#;").strip()
    if not plain or any(before.isspace() and after in "#;" for before, after in pairwise(plain)):
        return
    loaded = outcome(project, f"[aws]\nnote = {plain}\n")

    assert "is a placeholder" in str(loaded) if isinstance(loaded, ConfigError) else loaded.aws.banner == plain


@MANY
@given(
    value=st.text(max_size=200),
    key=st.sampled_from(ALL_OPTIONS),
)
@example("${IFS}", ("aws", "profile"))
@example("../" * 2000, ("job", "run"))
@example("~" * 5000, ("install", "ca_bundle"))
def test_a_hostile_value_is_taken_or_refused_and_nothing_else_happens(
    project: Path, value: str, key: tuple[str, str]
) -> None:
    loaded = outcome(project, f"[{key[0]}]\n{key[1]} = {value}\n".encode("utf-8", "replace"))

    assert isinstance(loaded, Settings) or loaded.problems


@MANY
@given(content=st.binary(max_size=200))
@example(b"[aws]\nregion = us-west-2\n" * 2)
def test_any_bytes_are_settings_or_a_config_error(project: Path, content: bytes) -> None:
    loaded = outcome(project, content)

    assert isinstance(loaded, Settings) or all(problem.line >= 1 for problem in loaded.problems)


def test_the_file_that_ships_is_the_template_and_has_no_mistakes(project: Path) -> None:
    shipped = (ROOT / "config" / "config.ini").read_text(encoding="utf-8")

    assert shipped == settings.template()
    assert not load(project, shipped).warnings


def test_the_rehearsal_file_has_no_mistakes_where_the_rehearsal_cloud_is_up(project: Path) -> None:
    content = (ROOT / "config" / "local.ini").read_text(encoding="utf-8")

    loaded = load(project, content, {"AWS_ENDPOINT_URL": "http://cloud.example:1", "REHEARSAL_SSH_PORT": "2222"})

    assert (loaded.aws.label, loaded.aws.endpoint_url, loaded.ssh.port) == ("rehearsal", "http://cloud.example:1", 2222)
    assert loaded.aws.banner == "embedded cloud (no AWS account, nothing is billed)"
    assert not loaded.warnings


def test_the_rehearsal_file_says_how_to_start_where_the_rehearsal_cloud_is_down(project: Path) -> None:
    content = (ROOT / "config" / "local.ini").read_text(encoding="utf-8")

    with pytest.raises(ConfigError, match=r"start with --local"):
        load(project, content)


def test_importing_brings_in_nothing_but_the_standard_library(tmp_path: Path) -> None:
    snippet = (
        "import sys; import orchestrator.config.settings;"
        "known = sys.stdlib_module_names | {'orchestrator', '__main__'};"
        "print([name for name in sys.modules if name.partition('.')[0] not in known])"
    )
    env = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path), "PATH": os.environ["PATH"]}
    words = [sys.executable, "-S", "-c", snippet]

    assert subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout == "[]\n"
