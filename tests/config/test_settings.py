"""config.ini: what it sets, and forty ways to get it wrong, each told with its line before anything is launched."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
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
from tests.support.paths import ROOT

HERE = {"HOME": "/home/nobody-here"}
ALL_OPTIONS = [(name, each.name) for name, table in settings.TABLES.items() if table for each in options(table)]
MANY = profile(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: config/, a job, a key."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("config", "examples/cloud_retrieval", "examples/empty"):
        (folder / name).mkdir(parents=True)
    (folder / "examples/cloud_retrieval/job.ini").touch()
    (folder / "lab.pem").touch()
    return folder


def outcome(project: Path, content: str | bytes) -> Settings | ConfigError:
    try:
        return load(project, content)
    except ConfigError as error:
        return error


def load(project: Path, content: str | bytes, env: Mapping[str, str] | None = None) -> Settings:
    path = project / "config" / "config.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return settings.load(path, HERE if env is None else env)


MISTAKES: dict[str, tuple[str | bytes, int, str]] = {
    # name: (file, line, what is said of it)
    "unknown section": ("[clutser]\n", 1, "[clutser]: no such section. Did you mean cluster?"),
    "unknown option": ("[disk]\nsiez = 75\n", 2, "[disk] siez: no such setting. Did you mean size?"),
    "option of another section": (
        "[cluster]\nregion = us-west-2\n",
        2,
        "[cluster] region: no such setting. It belongs under [aws].",
    ),
    "option above any section": ("count = 2\n", 1, "count: appears before any section; put it under [cluster]"),
    "no equals sign": ("[cluster]\ncount 2\n", 2, "[cluster] count: no = in this line; write count = ..."),
    "no setting at all": (
        "[cluster]\nhello world\n",
        2,
        "hello: not a [section], name = value or comment (#)",
    ),
    "option twice": (
        "[aws]\nregion = us-west-2\n\nREGION = us-east-1\n",
        4,
        "[aws] REGION: set again (first in line 2); keep one of the two",
    ),
    "section twice": ("[aws]\n[disk]\n[aws]\n", 3, "[aws]: appears again (first in line 1); merge the two"),
    "section without its bracket": ("[cluster\n", 1, "[cluster: section header without closing ]"),
    "indented option": (
        "[cluster]\nname = ml\n  count = 2\n",
        3,
        "count: is indented, so it would become part of [cluster] name in line 2; remove the blanks before it",
    ),
    "indented text": (
        "[cluster]\nname = ml\n  more\n",
        3,
        "[cluster] name takes one line, but this indented line continues it",
    ),
    "count in words": ("[cluster]\ncount = two\n", 2, "[cluster] count = 'two' is not a whole number (1 to 1000)"),
    "count of nothing": ("[cluster]\ncount = 0\n", 2, "[cluster] count = '0' is out of range: 1 to 1000"),
    "hours with their unit": (
        "[cluster]\nmax_hours = 8h\n",
        2,
        "[cluster] max_hours = '8h' is not a number (above 0, up to 720 hours); write 8, the unit is always hours",
    ),
    "hours without end": (
        "[cluster]\nmax_hours = 1000\n",
        2,
        "[cluster] max_hours = '1000' is out of range: above 0, up to 720 hours",
    ),
    "comment that sticks": (
        "[cluster]\nmax_hours = 8# a day's work\n",
        2,
        '[cluster] max_hours = "8# a day\'s work" has a comment directly after it: put a blank before the # or ;',
    ),
    "empty value": ("[cluster]\ncount =\n", 2, "[cluster] count needs a value; without this line it is 1"),
    "value that is all comment": (
        "[cluster]\nname = # mine\n",
        2,
        "[cluster] name needs a value; without this line it is ml",
    ),
    "upper-case name": (
        "[cluster]\nname = ML 1\n",
        2,
        "[cluster] name = 'ML 1' must be a lower-case letter, then up to 30 lower-case letters, digits or -",
    ),
    "typo in the type": (
        "[cluster]\ninstance_type = c7i.2xlrage\n",
        2,
        "[cluster] instance_type = 'c7i.2xlrage' is not an EC2 instance type (family.size). Did you mean c7i.2xlarge?",
    ),
    "type without its dot": (
        "[cluster]\ninstance_type = g5xlarge\n",
        2,
        "[cluster] instance_type = 'g5xlarge' is not an EC2 instance type (family.size). Did you mean g5.xlarge?",
    ),
    "quotes": (
        '[cluster]\ninstance_type = "c7i.2xlarge"\n',
        2,
        "[cluster] instance_type = '\"c7i.2xlarge\"' is in quotes: write it without them",
    ),
    "malformed image id": (
        "[cluster]\nimage = ami-12345\n",
        2,
        "[cluster] image = 'ami-12345' is not an image id: ami- and 8 or 17 hexadecimal digits",
    ),
    "malformed SSM parameter": (
        "[cluster]\nimage = /aws//x y\n",
        2,
        "[cluster] image = '/aws//x y' is not an SSM parameter: /names/with/slashes",
    ),
    "blank in the region": (
        "[aws]\nregion = us-west -2\n",
        2,
        "[aws] region = 'us-west -2' is not a region. Did you mean us-west-2?",
    ),
    "zone for a region": (
        "[aws]\nregion = us-west-2a\n",
        2,
        "[aws] region = 'us-west-2a' is not an AWS region. Did you mean us-west-2?",
    ),
    "typo in the region": (
        "[aws]\nregion = us-wset-2\n",
        2,
        "[aws] region = 'us-wset-2' is not an AWS region. Did you mean us-west-2?",
    ),
    "placeholder": (
        "[aws]\nkey_name = <your key>\n",
        2,
        "[aws] key_name = '<your key>' is a placeholder: replace it with a value, or delete the line",
    ),
    "placeholder in an id": (
        "[aws]\nvpc_id = vpc-xxxxxx\n",
        2,
        "[aws] vpc_id = 'vpc-xxxxxx' is a placeholder: replace it with a value, or delete the line",
    ),
    "id of another thing": (
        "[aws]\nvpc_id = subnet-5e38fc14\n",
        2,
        "[aws] vpc_id = 'subnet-5e38fc14' must be vpc- and 8 or 17 hexadecimal digits",
    ),
    "no network": (
        "[aws]\nssh_from = 203.0.113\n",
        2,
        "[aws] ssh_from = '203.0.113' is not an IPv4 network (auto, 203.0.113.7/32 or 203.0.113.0/24).",
    ),
    "network with host bits": (
        "[aws]\nssh_from = 203.0.113.7/32, 10.0.0.5/24\n",
        2,
        "[aws] ssh_from = '203.0.113.7/32, 10.0.0.5/24' contains '10.0.0.5/24', which is not an IPv4 network"
        " (auto, 203.0.113.7/32 or 203.0.113.0/24). Did you mean 10.0.0.0/24?",
    ),
    "password in an address": (
        "[aws]\nendpoint_url = https://me:secret@cloud.example\n",
        2,
        "[aws] endpoint_url = 'https://********@cloud.example' must be http(s)://host:port",
    ),
    "variable that is not set": (
        "[aws]\nprofile = ${LAB_PROFILE}\n",
        2,
        "[aws] profile: LAB_PROFILE is not set: export LAB_PROFILE=... or ${LAB_PROFILE:-default}",
    ),
    "variable with its own words": (
        "[aws]\nendpoint_url = ${CLOUD:?start with --local}\n",
        2,
        "[aws] endpoint_url: CLOUD is not set: start with --local",
    ),
    "variable that is not closed": (
        "[aws]\nprofile = ${HOME\n",
        2,
        "[aws] profile: ${ without a variable name and closing }; write ${NAME} or ${NAME:-default}",
    ),
    "key name without its file": (
        "[aws]\nkey_name = lab\n",
        2,
        "[aws] key_name = 'lab' needs its file: add private_key = ... under [ssh], or delete this line",
    ),
    "key file without its name": (
        "[ssh]\nprivate_key = lab.pem\n",
        2,
        "[ssh] private_key = 'lab.pem' needs its name in EC2: add key_name = ... under [aws]",
    ),
    "key file that is not there": (
        "[aws]\nkey_name = lab\n[ssh]\nprivate_key = ~/lab.pem\n",
        4,
        "[ssh] private_key = '~/lab.pem' is not a file: /home/nobody-here/lab.pem",
    ),
    "public half of a key": (
        "[aws]\nkey_name = lab\n[ssh]\nprivate_key = lab.pem.pub\n",
        4,
        "[ssh] private_key = 'lab.pem.pub' is the public key; name the private one, without .pub",
    ),
    "port beyond all ports": ("[ssh]\nport = 65536\n", 2, "[ssh] port = '65536' is out of range: 1 to 65535"),
    "address of no kind": (
        "[ssh]\naddress = publik\n",
        2,
        "[ssh] address = 'publik' must be one of auto, public, private. Did you mean public?",
    ),
    "disk too small": ("[disk]\nsize = 4\n", 2, "[disk] size = '4' is out of range: 8 to 65536 GiB"),
    "disk with its unit": (
        "[disk]\nsize = 75 GB\n",
        2,
        "[disk] size = '75 GB' is not a whole number (8 to 65536 GiB); write 75, the unit is always GiB",
    ),
    "disk too large for its type": (
        "[disk]\ntype = gp2\nsize = 20000\n",
        3,
        "[disk] size = '20000' is out of range: 1 to 16384 GiB for gp2",
    ),
    "disk of no type": (
        "[disk]\ntype = gp4\n",
        2,
        "[disk] type = 'gp4' must be one of gp3, gp2, io1, io2. Did you mean gp3?",
    ),
    "disk that cannot boot": (
        "[disk]\ntype = st1\n",
        2,
        "[disk] type = 'st1' cannot boot a VM: it is for data volumes only. Did you mean gp3?",
    ),
    "too few IOPS": (
        "[disk]\niops = 100\n",
        2,
        "[disk] iops = '100' is out of range: 3000 to 37500 (at most 500 for each of 75 GiB)",
    ),
    "too many IOPS": (
        "[disk]\nsize = 1000\niops = 80001\n",
        3,
        "[disk] iops = '80001' is out of range: 3000 to 80000 (gp3)",
    ),
    "IOPS where there are none": (
        "[disk]\ntype = gp2\niops = 3000\n",
        3,
        "[disk] iops = '3000' cannot be set for gp2: delete the line, or use type = gp3",
    ),
    "IOPS that must be asked for": (
        "[disk]\ntype = io1\n",
        2,
        "[disk] type = 'io1' needs iops = 100 to 3750 (at 75 GiB)",
    ),
    "throughput where there is none": (
        "[disk]\ntype = gp2\nthroughput = 250\n",
        3,
        "[disk] throughput = '250' cannot be set for gp2: delete the line, or use type = gp3",
    ),
    "throughput too small": (
        "[disk]\nthroughput = 100\n",
        2,
        "[disk] throughput = '100' is out of range: 125 to 2000 MiB/s",
    ),
    "throughput that few IOPS cannot carry": (
        "[disk]\nthroughput = 1000\n",
        2,
        "[disk] throughput = '1000' needs iops = 4000 or more (each carries 0.25 MiB/s)",
    ),
    "neither yes nor no": ("[disk]\nencrypted = perhaps\n", 2, "[disk] encrypted = 'perhaps' must be yes or no"),
    "open quote": (
        "[install]\npip_options = --index-url 'https://x\n",
        2,
        '[install] pip_options = "--index-url \'https://x" has a quote that is not closed',
    ),
    "CA bundle that is not there": (
        "[install]\nca_bundle = /nowhere/ca.pem\n",
        2,
        "[install] ca_bundle = '/nowhere/ca.pem' is not a file: /nowhere/ca.pem",
    ),
    "job that is not there": ("[job]\nrun = examples/cloud_retreival\n", 2, "Did you mean cloud_retrieval?"),
    "job without its job.ini": (
        "[job]\nrun = examples/empty\n",
        2,
        "[job] run = 'examples/empty' contains no job.ini: ",
    ),
    "Latin-1": (
        "[aws]\nnote = caf\xe9\n".encode("latin-1"),
        2,
        "byte 0xe9 is not UTF-8: save the file as UTF-8",
    ),
    "UTF-16": ("[aws]\n".encode("utf-16"), 1, "is UTF-16, not UTF-8: save the file as UTF-8"),
    "NUL bytes": (b"[aws]\nnote = a\0b\n", 2, "contains NUL bytes: it is not a UTF-8 text file"),
    "invisible character": (
        "[aws]\nregion = us-west-2\u200b\n",
        2,
        "contains an invisible character (U+200B): retype this line",
    ),
    "terminal control": ("[aws]\nnote = \x1b[2J\n", 2, "contains an invisible character (U+001B): retype this line"),
    "half a pair of old keys": (
        "[summary]\naccess_key = AKIAABCDEFGH\n",
        2,
        "[summary] access_key has no effect without secret_key",
    ),
    "typo in an old name": (
        "[summary]\nyour_key_pth = ~/x\n",
        2,
        "[summary] your_key_pth: no such setting. Did you mean your_key_path?",
    ),
    "old name beside the new": (
        "[cluster]\ncount = 2\n[aws]\nTOTAL_INSTANCE = 3\n",
        4,
        "[aws] TOTAL_INSTANCE: is set again as [cluster] count in line 2; keep that one",
    ),
    "old count in words": (
        "[aws]\nTOTAL_INSTANCE = two\n",
        2,
        "[aws] TOTAL_INSTANCE = 'two' is not a whole number (1 to 1000)",
    ),
}

# What a command does with a config file, as far as the file lets it come.
COMMAND = """
import os, sys
from pathlib import Path
from orchestrator.core import errors
from orchestrator.config import settings
try:
    settings.load(Path(sys.argv[1]), os.environ)
except errors.StratusError as error:
    print(error)
    print("cloud" if {"boto3", "botocore", "fabric", "paramiko"} & set(sys.modules) else "no cloud")
    sys.exit(error.exit_code)
"""


def command(path: Path) -> subprocess.CompletedProcess[str]:
    env = {"HOME": HERE["HOME"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    words = [sys.executable, "-c", COMMAND, str(path)]
    return subprocess.run(words, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_line_and_its_fix_and_ends_with_2_before_any_cloud(
    project: Path, mistake: str
) -> None:
    content, line, what = MISTAKES[mistake]
    path = project / "config" / "config.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    done = command(path)

    told, count, cloud = done.stdout.splitlines()
    assert told.startswith(f"{path}:{line}: ")
    assert what in told
    assert count == "1 mistake. Nothing was launched."
    assert (done.returncode, cloud, done.stderr) == (2, "no cloud", "")


def test_a_missing_file_ends_with_2_and_says_where_to_start(project: Path) -> None:
    done = command(project / "config" / "none.ini")

    assert done.returncode == 2
    assert "none.ini:1: no such file." in done.stdout
    assert "stratus config init" in done.stdout


def test_a_folder_in_place_of_the_file_ends_with_2(project: Path) -> None:
    done = command(project)

    assert done.returncode == 2
    assert "is a folder; give the file in it" in done.stdout


def test_all_mistakes_of_a_file_are_told_at_once(project: Path) -> None:
    singles = [content for content, _, _ in MISTAKES.values() if isinstance(content, str) and content.count("\n") == 2]
    lines = [content.splitlines() for content in singles if content.startswith("[cluster]\n")]
    # Each in a file of its own section would be one mistake; together they must all be there, in the file's order.
    content = "[cluster]\n" + "\n".join(line for _, line in lines)

    with pytest.raises(ConfigError) as caught:
        load(project, content)

    found = [problem.line for problem in caught.value.problems]
    assert found == sorted(found)
    assert set(found) == set(range(2, len(lines) + 2))


def test_the_message_has_the_form_that_editors_jump_to(project: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(project, "[cluster]\ncount = two\n[disk]\nsiez = 1\n")

    path = project / "config" / "config.ini"
    assert str(caught.value) == (
        f"{path}:2: [cluster] count = 'two' is not a whole number (1 to 1000)\n"
        f"{path}:4: [disk] siez: no such setting. Did you mean size?\n"
        "2 mistakes. Nothing was launched."
    )
    assert caught.value.exit_code == 2


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


def test_a_retired_type_becomes_the_nearest_living_one_with_a_warning(project: Path) -> None:
    loaded = load(project, "[cluster]\ninstance_type = p3.2xlarge\n")

    assert loaded.cluster.instance_type == "g6.xlarge"
    assert [problem.message for problem in loaded.warnings] == [
        "[cluster] instance_type = 'p3.2xlarge' is retired: g6.xlarge, its nearest successor, is used instead"
    ]


def test_a_door_open_to_the_world_draws_a_warning(project: Path) -> None:
    assert not load(project, "[aws]\nssh_from = 10.0.0.0/8, 203.0.113.7/32\n").warnings
    for halves in ("10.0.0.0/8, 0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/1"):
        assert "whole internet" in load(project, f"[aws]\nssh_from = {halves}\n").warnings[0].message
    (warning,) = load(project, "[aws]\nssh_from = 0.0.0.0/0\n").warnings

    assert (warning.line, "opens the VMs' SSH port to the whole internet" in warning.message) == (2, True)


def test_a_rule_for_a_group_that_is_never_changed_draws_a_warning(project: Path) -> None:
    (warning,) = load(project, "[aws]\nssh_from = 10.0.0.0/8\nsecurity_group_id = sg-0123abcd\n").warnings

    assert (warning.line, "has no effect" in warning.message) == (2, True)


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
