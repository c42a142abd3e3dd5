"""Config files of the project that Stratus grew out of: they load unchanged, with a word on each old name."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.config.settings import Secret, Settings
from orchestrator.core.errors import ConfigError

# As that project shipped it, stray blanks included.
SHIPPED = """\
[summary]
your_key_path = ~/.ssh/id_rsa
your_key_name = id_rsa
access_key = $YOUR AWS ACCESS KEY
secret_key = $YOUR AWS SECRET KEY
git_link = https://git.example/aws-automation.git
runtime_application = cpu-example

[aws]
TOTAL_INSTANCE = 1
SUBNET_ID = subnet-5e38fc14  \n\
INSTANCE_TYPE = p3.2xlarge
REGION = us-west-2 \n\
SECURITY_GROUP_ID = sg-058eb4f97ec6e76be  \n\
VPC_ID = vpc-81450cf9
"""

KEYS = SHIPPED.replace("$YOUR AWS ACCESS KEY", "AKIAIOSFODNN7").replace("$YOUR AWS SECRET KEY", "wJalrXUt/nFEMI+x")


def load(folder: Path, content: str) -> Settings:
    path = folder / "config.ini"
    path.write_text(content, encoding="utf-8")
    return settings.load(path, {"HOME": str(folder)})


def test_the_file_as_it_was_shipped_loads_with_its_values_at_their_new_names(tmp_path: Path) -> None:
    loaded = load(tmp_path, SHIPPED.replace("TOTAL_INSTANCE = 1", "TOTAL_INSTANCE =  2 "))

    assert (loaded.cluster.count, loaded.cluster.instance_type) == (2, "g6.xlarge")
    assert (loaded.aws.region, loaded.aws.vpc_id) == ("us-west-2", "vpc-81450cf9")
    assert (loaded.aws.subnet_id, loaded.aws.security_group_id) == ("subnet-5e38fc14", "sg-058eb4f97ec6e76be")
    assert (loaded.aws.key_name, loaded.ssh.private_key) == ("id_rsa", str(tmp_path / ".ssh/id_rsa"))
    assert (loaded.aws.legacy_access_key, loaded.aws.legacy_secret_key) == (None, None)


def test_each_old_name_draws_one_warning_that_names_its_new_home(tmp_path: Path) -> None:
    warnings = {problem.line: problem.message for problem in load(tmp_path, SHIPPED).warnings}

    homes = {
        2: "is now called private_key, under [ssh]; it is not a file: ",
        3: "is now called key_name, under [aws]",
        4: "aws configure",
        5: "aws configure",
        6: "[job] run",
        7: "cpu-example is now examples/cloud_retrieval",
        10: "is now called count, under [cluster]",
        12: "is now called instance_type, under [cluster]; it is retired: g6.xlarge",
    }
    assert list(warnings) == list(homes)
    assert all(home in str(warnings[line]) for line, home in homes.items())


def test_a_name_that_stayed_draws_no_warning(tmp_path: Path) -> None:
    assert not load(tmp_path, "[aws]\nREGION = us-west-2 \nVPC_ID = vpc-81450cf9\n").warnings


def test_old_keys_are_kept_and_never_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, KEYS)

    assert loaded.aws.legacy_access_key == Secret("AKIAIOSFODNN7")
    assert loaded.aws.legacy_secret_key == Secret("wJalrXUt/nFEMI+x")
    rows = settings.to_rows(loaded)
    assert ("aws", "legacy_access_key", "********", "config.ini:4") in rows
    assert ("aws", "legacy_secret_key", "********", "config.ini:5") in rows
    shown = repr(loaded) + str(loaded) + str(rows) + "".join(map(str, loaded.warnings))
    assert "AKIA" not in shown
    assert "wJalr" not in shown


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("secret_key = w", "secret_key w"),
        ("secret_key = w", "secret_key = \x07w"),
        ("secret_key = w", "secret_kye = w"),
        ("secret_key = w", "  secret_key = w"),
        ("secret_key = w", "secret_key = ${w"),
        ("[summary]", "[sumary]"),
        ("access_key = A", "#"),
    ],
)
def test_no_mistake_around_a_secret_shows_it(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, KEYS.replace(old, new))

    assert "Jalr" not in str(caught.value)


def test_the_new_name_wins_over_nothing_and_a_second_one_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[cluster]\ncount = 2\n[aws]\nTOTAL_INSTANCE = 3\n")

    assert str(caught.value).startswith(
        f"{tmp_path / 'config.ini'}:4: [aws] TOTAL_INSTANCE: is set again as [cluster] count in line 2; keep that one"
    )


def test_mistakes_in_old_names_are_told_by_those_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SHIPPED.replace("TOTAL_INSTANCE = 1", "TOTAL_INSTANCE = two").replace("your_key_path", "#"))

    lines = str(caught.value).splitlines()
    assert "config.ini:3: [summary] your_key_name = 'id_rsa' needs its file" in lines[0]
    assert "config.ini:10: [aws] TOTAL_INSTANCE = 'two' is not a whole number (1 to 1000)" in lines[1]


RENAMED = {
    "[cluster]\nsiblings = c7a.2xlarge\n": "[cluster]\nfallback_instance_types = c7a.2xlarge\n",
    "[aws]\nsweep = all\n": "[aws]\nterminate_regions = all\n",
    "[aws]\nnote = staging, do not terminate\n": "[aws]\nbanner = staging, do not terminate\n",
}
"""Files with a name of an earlier version -> the same with today's name."""


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_option_has_its_old_effect_and_draws_one_warning(tmp_path: Path, old: str, new: str) -> None:
    loaded, expected = load(tmp_path, old), load(tmp_path, new)

    assert (loaded.cluster, loaded.aws) == (expected.cluster, expected.aws)
    assert loaded.cluster != Settings().cluster or loaded.aws != Settings().aws
    section, name = old.split("\n")[0], old.split("\n")[1].split(" = ")[0]
    new_name = new.split("\n")[1].split(" = ")[0]
    assert [str(warning) for warning in loaded.warnings] == [
        f"{tmp_path / 'config.ini'}:2: {section} {name}: is now called {new_name}"
    ]
    assert not expected.warnings


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_option_under_both_names_is_a_mistake(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, old + new.split("\n", 1)[1])

    section, name = old.split("\n")[0], old.split("\n")[1].split(" = ")[0]
    new_name = new.split("\n")[1].split(" = ")[0]
    message = f"{section} {name}: is set again as {section} {new_name} in line 3; keep that one"
    assert [str(problem) for problem in caught.value.problems] == [f"{tmp_path / 'config.ini'}:2: {message}"]


def test_a_mistake_in_a_renamed_option_names_it_as_the_file_does(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.ini:2: \[cluster\] siblings = 'many' is not an EC2 instance type"):
        load(tmp_path, "[cluster]\nsiblings = many\n")
