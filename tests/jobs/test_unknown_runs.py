"""Errors about runs that no host lists: what the records of this computer know of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import Settings, to_rows
from orchestrator.core.errors import UsageError
from orchestrator.jobs import record

OLD, NEW = "20261119-141203-k3x", "20261120-141203-abc"
NEWEST = "20261121-141203-xyz"
NOW = datetime(2026, 11, 20, 14, 12, 3, 500_000, tzinfo=UTC)
SETTINGS = Settings()
OWN = {f"{section}.{option}": value for section, option, value, _ in to_rows(SETTINGS)}


def write_record(runs: Path, run_id: str, **facts: Any) -> Path:
    folder = runs / run_id
    (folder / "outputs").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(facts))
    return folder


def explained(folder: Path, id_suffix: str, present: Sequence[str] = (), settings: Settings = SETTINGS) -> UsageError:
    error = UsageError(f"no run {id_suffix!r} here", where="w", code="c", fix="launch a VM")
    return record.explain_missing(error, folder, id_suffix, settings=settings, present=present)


def test_a_run_that_this_computer_does_not_know_has_the_error_as_it_is(tmp_path: Path) -> None:
    write_record(tmp_path, OLD)
    error = explained(tmp_path, "nothing", ["i-9"])

    assert (error.message, error.where, error.code, str(error.fix)) == (
        "no run 'nothing' here",
        "w",
        "c",
        "launch a VM",
    )


def test_without_any_vm_an_unknown_run_is_no_reason_to_launch_one(tmp_path: Path) -> None:
    write_record(tmp_path, OLD)
    error = explained(tmp_path, "nope")

    assert (error.message, str(error.fix)) == ("no run nope", "Runs() lists them")


@pytest.mark.parametrize(("id_suffix", "present"), [("abc", ()), ("abc", ("i-1",)), ("", ())])
def test_a_run_on_sagemaker_is_named_as_such(tmp_path: Path, id_suffix: str, present: Sequence[str]) -> None:
    write_record(tmp_path, OLD)
    write_record(tmp_path, NEW, run=NEW, tuning_job={"name": "x"})
    error = explained(tmp_path, id_suffix, present)

    assert error.message == f"{NEW} is a run on SageMaker: this is for runs on VMs"
    assert f'Logs("{NEW}")' in str(error.fix)


def test_a_run_on_terminated_vms_was_fetched_or_is_gone(tmp_path: Path) -> None:
    gone = write_record(tmp_path, OLD, run=OLD, settings=OWN, instances={"ml-0": "i-0"})
    fetched = write_record(tmp_path, NEW, run=NEW, settings=OWN, instances={"ml-0": "i-1"}, fetched="2026")

    for id_suffix in ("k3x", OLD):
        error = explained(tmp_path, id_suffix)
        assert (error.message, str(error.fix)) == (f"the VMs of run {OLD} are terminated", record.NOTHING_FETCHED)
    for id_suffix in ("abc", ""):
        error = explained(tmp_path, id_suffix)
        assert error.message == f"the VMs of run {NEW} are terminated"
        assert str(error.fix) == f"fetched before: {fetched}/"
    assert str(gone) not in str(explained(tmp_path, "").fix)


@pytest.mark.parametrize(
    ("facts", "present"),
    [
        ({}, ("i-1",)),
        ({"instances": {}}, ()),
        ({"settings": {}}, ()),
        ({"settings": None}, ()),
        ({"settings": OWN | {"aws.region": "eu-west-1"}}, ()),
    ],
)
def test_a_run_is_not_said_to_be_terminated_while_its_vms_may_exist(
    tmp_path: Path, facts: dict[str, object], present: Sequence[str]
) -> None:
    known = {"run": NEW, "settings": OWN, "instances": {"ml-0": "i-0", "ml-1": "i-1"}, "fetched": "2026"}
    folder = write_record(tmp_path, NEW, **known | facts)
    error = explained(tmp_path, "abc", present)

    assert error.message == "no run 'abc' here"
    assert str(error.fix) == f"fetched before: {folder}/\n  launch a VM"


def test_of_several_runs_all_must_be_terminated_and_the_last_three_are_named(tmp_path: Path) -> None:
    ids = [f"2026112{number}-141203-abc" for number in range(5)]
    for run_id in ids:
        write_record(tmp_path, run_id, run=run_id, settings=OWN, instances={"ml-0": run_id}, fetched="2026")
    error = explained(tmp_path, "abc")

    assert error.message == f"the VMs of run {', '.join(ids[-3:])} are terminated"
    assert str(error.fix) == f"fetched before: {', '.join(f'{tmp_path / run_id}/' for run_id in ids[-3:])}"
    assert explained(tmp_path, "abc", [ids[0]]).message == "no run 'abc' here"
    write_record(tmp_path, "20261119-141203-abc", run=ids[0], settings=OWN, instances={"ml-0": "i-0"})
    assert record.NOTHING_FETCHED not in str(explained(tmp_path, "abc").fix)
    newest = explained(tmp_path, "", [ids[0]])
    assert newest.message == f"the VMs of run {ids[-1]} are terminated"
    assert str(newest.fix) == f"fetched before: {tmp_path / ids[-1]}/"
