"""INI files: what is read, where it stood, and everything that can be wrong with a line."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.config import ini

MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(
    folder: Path, content: str | bytes, env: Mapping[str, str] | None = None, layout: ini.Layout | None = None
) -> ini.Document:
    path = folder / "some.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ini.read(path, env or {}, layout)


def texts(document: ini.Document) -> dict[str, str]:
    return {f"{section}.{name}": value.text for (section, name), value in document.values.items()}


def complaints(document: ini.Document) -> list[tuple[int, str]]:
    return [(problem.line, str(problem.message)) for problem in document.problems]


def test_values_are_trimmed_and_know_their_line_and_the_letters_they_were_typed_in(tmp_path: Path) -> None:
    document = read(tmp_path, "\n[AWS]\n  \nREGION\t =\t us-west-2 \t\nSubnet_Id: subnet-5e38fc14  \n")

    assert texts(document) == {"aws.region": "us-west-2", "aws.subnet_id": "subnet-5e38fc14"}
    assert document.values["aws", "region"].line == 4
    assert document.values["aws", "subnet_id"].label == "[aws] Subnet_Id"
    assert not document.problems


def test_percent_signs_and_dollars_and_inner_tabs_survive(tmp_path: Path) -> None:
    document = read(tmp_path, "[a]\nb = 50% of $HOME\tand %(x)s\n")

    assert texts(document) == {"a.b": "50% of $HOME\tand %(x)s"}


def test_a_comment_needs_a_blank_before_it(tmp_path: Path) -> None:
    document = read(tmp_path, "[a] # one\n; two\n# = three\nb = x#y ; four\nc = # five\nd = u;v\n")

    assert texts(document) == {"a.b": "x#y", "a.c": "", "a.d": "u;v"}
    assert not document.problems


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_lines_may_end_as_on_any_system(tmp_path: Path, end: str) -> None:
    document = read(tmp_path, b"\xef\xbb\xbf" + end.join(["[a]", "b = 1", "c = 2"]).encode())

    assert texts(document) == {"a.b": "1", "a.c": "2"}
    assert document.values["a", "c"].line == 3


@pytest.mark.parametrize(
    ("typed", "read_as"),
    [
        ("${A}", "alpha"),
        ("x${A}y${A}", "xalphayalpha"),
        ("${NONE:-b c}", "b c"),
        ("${EMPTY:-b}", "b"),
        ("${EMPTY-b}", ""),
        ("${NONE-}", ""),
        ("${A:?must be set}", "alpha"),
        ("${TRICKY}", "${A} # no comment"),
        ("$A", "$A"),
    ],
)
def test_variables_are_filled_in_as_a_shell_would(tmp_path: Path, typed: str, read_as: str) -> None:
    env = {"A": "alpha", "EMPTY": "", "TRICKY": "${A} # no comment"}

    document = read(tmp_path, f"[a]\nb = {typed}\n", env)

    assert texts(document) == {"a.b": read_as}
    assert not document.problems


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("${NONE}", "[a] b: NONE is not set: export NONE=... or ${NONE:-default}"),
        ("${NONE:?start with --local}", "[a] b: NONE is not set: start with --local"),
        ("${EMPTY:?start with --local}", "[a] b: EMPTY is not set: start with --local"),
        ("${A", "[a] b: ${ without a variable name and closing }; write ${NAME} or ${NAME:-default}"),
        ("${}", "[a] b: ${ without a variable name and closing }; write ${NAME} or ${NAME:-default}"),
        ("${LINES}", "[a] b: ${LINES} contains an invisible character (U+000A): retype this line"),
    ],
)
def test_a_variable_that_cannot_be_filled_in_is_a_mistake_in_its_line(
    tmp_path: Path, typed: str, complaint: str
) -> None:
    document = read(tmp_path, f"[a]\nb = {typed}\n", {"A": "alpha", "EMPTY": "", "LINES": "x\ny"})

    assert complaints(document) == [(2, complaint)]
    assert document.values["a", "b"].broken


def test_an_option_of_several_lines_takes_indented_ones_without_their_comments(tmp_path: Path) -> None:
    content = "[job]\ndata = s3://bucket/x -> x   # first\n\n    # not this\n    y/z -> z\n\tA = b\nnext = 1\n"

    document = read(tmp_path, content, layout=ini.Layout(multiline=frozenset({("job", "data")})))

    assert texts(document) == {"job.data": "s3://bucket/x -> x\ny/z -> z\nA = b", "job.next": "1"}
    assert not document.problems


def test_a_known_name_is_never_swallowed_even_by_an_option_of_several_lines(tmp_path: Path) -> None:
    layout = ini.Layout(frozenset({("job", "data")}), known_options={"job": frozenset({"data", "single"})})

    document = read(tmp_path, "[job]\ndata = x\n  single = python x.py\n", layout=layout)

    assert texts(document) == {"job.data": "x", "job.single": "python x.py"}
    assert complaints(document) == [
        (
            3,
            "single: is indented, so it would become part of [job] data in line 2; remove the blanks before it",
        )
    ]


def test_a_verbatim_option_is_taken_as_typed(tmp_path: Path) -> None:
    layout = ini.Layout(verbatim=frozenset({("job", "single")}))

    document = read(tmp_path, "[job]\nsingle =  cd x ; python y.py ${SCHEDULER} # z\n", layout=layout)

    assert texts(document) == {"job.single": "cd x ; python y.py ${SCHEDULER} # z"}
    assert not document.problems


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("x = 1\n", [(1, "x: appears before any section; put it under [section]")]),
        ("[a]\nb\n", [(2, "b: not a [section], name = value or comment (#)")]),
        ("[a]\nb # = 1\n", [(2, "b: not a [section], name = value or comment (#)")]),
        ("[a]\nb = 1\nB = 2\n", [(3, "[a] B: set again (first in line 2); keep one of the two")]),
        ("[a]\n[A]\n", [(2, "[a]: appears again (first in line 1); merge the two")]),
        ("[a\nb = 1\n", [(1, "[a: section header without closing ]")]),
        ("[]\nb = 1\n", [(1, "[]: a section needs a name")]),
        ("[a] b = 1\n", [(1, "[a]: start a new line after the section header")]),
        ("[a]\nb = 1\n  more\n", [(3, "[a] b takes one line, but this indented line continues it")]),
        (
            "[a]\nb = 1\n  c = 2\n  d: 3\n  [e]\n",
            [
                (
                    3,
                    "c: is indented, so it would become part of [a] b in line 2; remove the blanks before it",
                ),
                (
                    4,
                    "d: is indented, so it would become part of [a] c in line 3; remove the blanks before it",
                ),
                (
                    5,
                    "[e]: is indented, so it would become part of [a] d in line 4; remove the blanks before it",
                ),
            ],
        ),
        (b"[a]\nb = caf\xe9\n", [(2, "byte 0xe9 is not UTF-8: save the file as UTF-8")]),
        ("[a]\nb = us\u200b-west-2\n", [(2, "contains an invisible character (U+200B): retype this line")]),
        ("[a]\nb = \x1b[2J\n", [(2, "contains an invisible character (U+001B): retype this line")]),
        (
            b"[a]\nb = \0\n",
            [(2, "contains NUL bytes: it is not a UTF-8 text file (UTF-16 without a byte order mark, or binary)")],
        ),
        (
            "[a]\nb = 1\n".encode("utf-16"),
            [(1, "is UTF-16, not UTF-8: save the file as UTF-8")],
        ),
        (b"#" * ini.MAX_FILE_BYTES + b"#", [(1, "is larger than 1 MiB: it is not a config file")]),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, content: str | bytes, found: list[tuple[int, str]]) -> None:
    assert complaints(read(tmp_path, content)) == found


def test_indented_options_are_fine_where_nothing_can_swallow_them(tmp_path: Path) -> None:
    document = read(tmp_path, "[a]\n  b = 1\n  c = 2\n[d]\n\te = 3\n")

    assert texts(document) == {"a.b": "1", "a.c": "2", "d.e": "3"}
    assert not document.problems


def test_a_line_without_its_equals_sign_is_never_shown_whole_for_it_may_be_a_secret(tmp_path: Path) -> None:
    document = read(
        tmp_path, "[a]\nsecret_key hunter2\n", layout=ini.Layout(known_options={"a": frozenset({"secret_key"})})
    )

    assert complaints(document) == [(2, "[a] secret_key: no = in this line; write secret_key = ...")]


def test_a_document_does_not_show_its_values_when_it_is_printed(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read(tmp_path, "[a]\nsecret_key = hunter2\n"))


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "config.ini").touch()

    document = ini.read(tmp_path / "confg.ini", {}, ini.Layout(hint="Make one."))

    assert [str(problem) for problem in document.problems] == [
        f"{tmp_path / 'confg.ini'}:1: no such file. Did you mean config.ini? Make one."
    ]


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    assert complaints(ini.read(tmp_path, {})) == [(1, "is a folder; give the file in it")]


@pytest.mark.parametrize("name", ["x" * 5000, "config.ini/x", "a\0b"])
def test_a_path_that_cannot_be_opened_is_a_mistake_and_no_crash(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.ini").touch()

    (problem,) = ini.read(tmp_path / name, {}).problems

    assert str(problem.message).startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("word", "answer"),
    [("siez", " Did you mean size?"), ("Key-Name", " Did you mean key_name?"), ("zzz", ""), ("", "")],
)
def test_the_nearest_known_word_is_suggested(word: str, answer: str) -> None:
    assert ini.suggest(word, ["size", "type", "key_name"]) == answer


@MANY
@given(content=st.binary(max_size=300))
def test_no_bytes_can_make_the_reader_fail(tmp_path: Path, content: bytes) -> None:
    document = read(tmp_path, content)

    assert all(problem.line >= 1 for problem in document.problems)


@MANY
@given(content=st.text(alphabet="[]ab=:#; \t1%$\n", max_size=60))
def test_a_file_without_mistakes_reads_as_the_standard_parser_reads_it(tmp_path: Path, content: str) -> None:
    document = read(tmp_path, content)
    if document.problems:
        return
    standard = configparser.RawConfigParser(inline_comment_prefixes=("#", ";"), default_section="none")
    standard.read_string(content)

    assert texts(document) == {
        f"{section.strip()}.{name}": value
        for section in standard.sections()
        for name, value in standard[section].items()
    }
