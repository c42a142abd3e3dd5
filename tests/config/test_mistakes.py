"""Mistakes in config.ini: each is reported with its line before anything is launched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core.errors import ConfigError
from tests.support.config_files import HERE, load
from tests.support.paths import ROOT

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


@pytest.mark.slow
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
    assert count == "1 mistake. Nothing was launched or changed."
    assert (done.returncode, cloud, done.stderr) == (2, "no cloud", "")


def test_a_missing_file_ends_with_2_and_says_where_to_start(project: Path) -> None:
    done = command(project / "config" / "none.ini")

    assert done.returncode == 2
    assert "none.ini:1: no such file." in done.stdout
    assert 'Config("init")' in done.stdout


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
        "2 mistakes. Nothing was launched or changed."
    )
    assert caught.value.exit_code == 2
