"""``--output json``: one document on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]

VERBS = [
    ["launch", "--yes"],
    ["status"],
    ["install"],
    ["run"],
    ["run", "--detach"],
    ["runs"],
    ["logs"],
    ["fetch"],
    ["cost"],
    ["cancel"],
    ["stop"],
    ["start"],
    ["config", "check"],
    ["config", "show"],
    ["config", "template"],
    ["terminate"],
    ["experiment", "--yes"],
    ["attach"],
    ["killall"],
    ["usage"],
    ["gpus", "ml-1"],
    ["exec", "--", "nvidia-smi", "-L"],
]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_json_is_one_document_on_stdout(launched: Stratus, verb: list[str]) -> None:
    done = launched("--output", "json", *verb)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is not None


@pytest.mark.parametrize(
    ("verb", "keys"),
    [
        (["logs"], ["lines"]),
        (["experiment", "--yes"], ["run", "terminated"]),
        (["config", "check"], ["config", "job", "warnings"]),
        (["config", "template"], ["text"]),
        (["run", "--detach"], ["run", "job", "multi", "roles", "dashboard", "folder", "short"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_documents_that_are_no_record_have_these_keys(launched: Stratus, verb: list[str], keys: list[str]) -> None:
    assert list(json.loads(launched("--output", "json", *verb).stdout)) == keys


def test_lists_are_lists(launched: Stratus) -> None:
    (run,) = json.loads(launched("--output", "json", "runs").stdout)
    setting = json.loads(launched("--output", "json", "config", "show").stdout)[0]
    (line, _) = json.loads(launched("--output", "json", "logs").stdout)["lines"]

    assert run["run"] == "20261120-1412-k3"
    assert list(setting) == ["section", "option", "value", "origin"]
    assert line == {"host": "ml-0", "line": "hello"}


def test_output_may_be_chosen_after_the_verb_as_well(launched: Stratus) -> None:
    assert json.loads(launched("status", "--output", "json").stdout)["usd_per_hour"] == "0.73"


def test_an_error_is_a_document_too_with_all_that_was_achieved(launched: Stratus) -> None:
    failed = json.loads(launched("--output", "json", "run", bad="job-fails").stdout)
    left = json.loads(launched("terminate", "--output=json", bad="left").stdout)
    wrong = json.loads(launched("frob", "--output", "json").stdout)

    assert failed["exit_status"] == 3
    assert failed["tail"] == ["oh"]
    assert failed["run"] == "20261120-1412-k3"
    assert failed["fix"] == "logs: stratus logs 20261120-1412-k3"
    assert left["exit_code"] == 4
    assert left["fix"] == "stratus terminate tries again"
    assert wrong["error"] == "UsageError"


def test_ssh_prints_no_document_of_its_own(launched: Stratus) -> None:
    assert launched("--output", "json", "ssh", "ml-0", "ls").stdout == "on ['ml-0', 'ls']\n"
