"""Tables of options: files read, checked and reported on by what a dataclass declares."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.config import ini, schema, value_types
from orchestrator.config.schema import FREE_FORM, Secret, SettingsReader, option
from orchestrator.core.errors import ConfigError


@dataclass(frozen=True)
class Job:
    """What to run."""

    single: str = option("", value_types.command(), "Command of a run on one VM.", required=True)
    workers: int = option(1, value_types.integer(1, 64), "Worker processes on each VM.")
    wait: float = option(2.5, value_types.number(0, 60, "seconds"), "For the workers.")
    keep: bool = option(False, value_types.boolean(), "Keep the outputs.")
    mode: str = option("dask", value_types.choice("dask", "command"), "How it is spread.")
    name: str = option("", value_types.text("[a-z]+", "lower-case letters"), "What it is called.")
    data: tuple[str, ...] = option((), value_types.text_lines(), "Inputs.")
    made_up: int = 7


TABLES: schema.Tables = {"job": Job, "env": FREE_FORM}


def reading(folder: Path, content: str) -> SettingsReader:
    path = folder / "job.ini"
    path.write_text(content, encoding="utf-8")
    return SettingsReader(ini.read(path, {}, schema.layout(TABLES)), TABLES)


def mistakes(read: SettingsReader) -> list[str]:
    read.read_section("job", Job)
    with pytest.raises(ConfigError) as caught:
        read.raise_problems()
    return [f"{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_a_table_is_filled_with_values_of_its_types_and_defaults(tmp_path: Path) -> None:
    read = reading(tmp_path, "[job]\nsingle = a # b\nworkers = 3\nkeep = YES\ndata = x\n  y\n[env]\nOMP_Threads = 2\n")

    job = read.read_section("job", Job)
    read.raise_problems()

    assert job == Job(single="a # b", workers=3, keep=True, data=("x", "y"))
    assert read.free_form("env") == {"OMP_Threads": "2"}
    assert (read.origin("job", "workers"), read.origin("job", "wait")) == ("job.ini:3", "default")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("workers = two", "[job] workers = 'two' is not a whole number (1 to 64)"),
        ("workers = 1.5", "[job] workers = '1.5' is not a whole number (1 to 64)"),
        ("workers = 1_0", "[job] workers = '1_0' is not a whole number (1 to 64)"),
        ("workers = \u0663", "[job] workers = '\u0663' is not a whole number (1 to 64)"),
        ("workers = 0", "[job] workers = '0' is out of range: 1 to 64"),
        ("workers = " + "9" * 60, f"[job] workers = '{'9' * 60}' is out of range: 1 to 64"),
        ("workers =", "[job] workers needs a value; without this line it is 1"),
        ("workers = '4'", "[job] workers = \"'4'\" is in quotes: write it without them"),
        (
            "workers = 4# four",
            "[job] workers = '4# four' has a comment directly after it: put a blank before the # or ;",
        ),
        ("wait = 0", "[job] wait = '0' is out of range: above 0, up to 60 seconds"),
        ("wait = nan", "[job] wait = 'nan' is not a number (above 0, up to 60 seconds)"),
        (
            "wait = 5 s",
            "[job] wait = '5 s' is not a number (above 0, up to 60 seconds); write 5, the unit is always seconds",
        ),
        ("keep = maybe", "[job] keep = 'maybe' must be yes or no"),
        ("mode = dsk", "[job] mode = 'dsk' must be one of dask, command. Did you mean dask?"),
        ("name = A1", "[job] name = 'A1' must be lower-case letters"),
        ("name = <name>", "[job] name = '<name>' is a placeholder: replace it with a value, or delete the line"),
        ("nmae = x", "[job] nmae: no such setting. Did you mean name?"),
        ("env = x", "[job] env: no such setting. [env] is a section of its own."),
        ("made_up = 1", "[job] made_up: no such setting."),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_would(tmp_path: Path, line: str, complaint: str) -> None:
    assert mistakes(reading(tmp_path, f"[job]\nsingle = x\n{line}\n")) == [f"3: {complaint}"]


def test_a_missing_option_that_is_required_is_told_at_its_section(tmp_path: Path) -> None:
    assert mistakes(reading(tmp_path, "\n[job]\nworkers = 1\n")) == [
        "2: [job] single is missing. Command of a run on one VM."
    ]


def test_an_empty_option_that_is_required_needs_a_value(tmp_path: Path) -> None:
    assert mistakes(reading(tmp_path, "[job]\nsingle =\n")) == ["2: [job] single needs a value"]


def test_an_unknown_section_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    assert mistakes(reading(tmp_path, "[job]\nsingle = x\n[jobs]\na = 1\n")) == [
        "3: [jobs]: no such section. Did you mean job?"
    ]


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = mistakes(reading(tmp_path, "[job]\nworkers = x\nsingle = \nbad\nname = ${NONE}\n[nope]\n"))

    assert [line.split(":")[0] for line in found] == ["2", "3", "4", "5", "6"]


def test_a_check_of_several_options_can_ask_whether_they_are_sound(tmp_path: Path) -> None:
    read = reading(tmp_path, "[job]\nsingle = x\nworkers = x\nname =\n")
    read.read_section("job", Job)

    assert not read.is_valid("job", "single", "workers")
    assert read.is_valid("job", "single")
    assert (read.is_set("job", "single"), read.is_set("job", "name"), read.is_set("job", "wait")) == (
        True,
        False,
        False,
    )


def test_a_line_gets_one_warning_however_much_there_is_to_say(tmp_path: Path) -> None:
    read = reading(tmp_path, "[job]\nname = x\n")
    read.add_warning("job", "name", "is short")
    read.add_warning("job", "name", "is also dull")

    assert [str(warning) for warning in read.warnings] == [
        f"{tmp_path / 'job.ini'}:2: [job] name = 'x' is short; it is also dull"
    ]


def test_a_long_value_is_cut_in_a_message(tmp_path: Path) -> None:
    (found,) = mistakes(reading(tmp_path, f"[job]\nsingle = x\nname = {'A' * 500}\n"))

    assert len(found) < 150


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, lambda secret: f"{secret!r:>40}", lambda secret: repr(dataclasses.asdict(Holder(secret)))],
)
def test_a_secret_does_not_show_itself(show: object) -> None:
    assert callable(show)

    assert "hunter2" not in show(Secret("hunter2"))


@dataclass(frozen=True)
class Holder:
    secret: Secret


def test_a_secret_cannot_be_written_down_by_accident() -> None:
    secret = Secret("hunter2")

    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret.reveal() == "hunter2"
    assert copy.deepcopy(secret) == secret == Secret("hunter2") != Secret("other")
    assert len({secret, Secret("hunter2")}) == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("~", "/home/me"),
        ("~/a", "/home/me/a"),
        ("a/../b", "/base/b"),
        ("/c//d", "/c/d"),
        ("~no-such-user/x", "/base/~no-such-user/x"),
    ],
)
def test_a_path_starts_where_its_config_file_says(given: str, path: str) -> None:
    assert value_types.resolve_path(given, Path("/base"), {"HOME": "/home/me"}) == Path(path)


@pytest.mark.parametrize(
    "word",
    [
        "<your key>",
        "your_key",
        "YOUR-KEY",
        "$YOUR AWS ACCESS KEY",
        "vpc-xxxxxx",
        "xxxx",
        "...",
        "TODO",
        "tbd",
        "change-me",
        "/path/to/key.pem",
    ],
)
def test_what_a_template_left_to_fill_in_is_known_as_that(word: str) -> None:
    assert value_types.is_placeholder(word)


@pytest.mark.parametrize("word", ["my-cluster", "ml", "x", "sg-0123abcd", "a<b", "yourself", "xx", "~/.ssh/id_rsa"])
def test_an_ordinary_value_is_no_placeholder(word: str) -> None:
    assert not value_types.is_placeholder(word)
