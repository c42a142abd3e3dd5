"""Verbs on data: what is refused before anything is called, one line each."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.interface.console import Console
from orchestrator.interface.verbs import account, storage
from orchestrator.interface.workspace import Workspace

URL = "s3://my-bucket/data"


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "message", "fix"),
    [
        (storage.upload, [URL, URL], {}, "on S3; this is the place for a file or a folder here", "Download("),
        (storage.download, [URL, URL], {}, "on S3; this is the place", "Download("),
        (storage.send, [URL, "ml-0"], {}, "on S3; this is the place", "Download("),
        (storage.send, ["data", "ml-0,ml-1"], {}, "ml-0,ml-1: several VMs are named between blanks", "ml-0 ml-1"),
        (storage.receive, ["data", URL], {}, "on S3; this is the place", "Receive("),
        (storage.upload, ["a\0b", URL], {}, "is not a path", ""),
        (storage.upload, ["data", URL], {"limit": -1}, "limit = -1 is below 0", "limit=20"),
        (storage.download, [URL], {"limit": "20"}, "limit = '20' is not a number", "limit=20"),
        (storage.sync, ["data", URL], {"limit": float("inf")}, "limit = inf is too large", "limit=20"),
        (account.break_even, [], {"price": float("nan")}, "price = nan is not a number", "BreakEven("),
        (account.break_even, [], {"price": 1e30}, r"price = 1e\+30 is too large", "BreakEven("),
        (account.break_even, [], {"price": "2000"}, "price = '2000' is not a number", "BreakEven("),
        (account.break_even, [], {"years": 0}, "years = 0 is out of range: more than 0, at most 50", "BreakEven("),
        (account.break_even, [], {"hours_per_day": 25}, "hours_per_day = 25 is out of range", "BreakEven("),
        (account.instance_types, [], {"gpus": -1}, "gpus = -1 is below 0", "InstanceTypes("),
        (account.instance_types, [], {"family": "G5"}, "family = 'G5' is not a family", "InstanceTypes("),
    ],
)
def test_bad_input_is_one_line(
    verb: Any, arguments: list[str], options: dict[str, Any], message: str, fix: str
) -> None:
    class NoSession(Workspace):
        def session(self, *, files: bool = True, only_ending: bool = False) -> Any:  # noqa: ARG002
            class Anything:
                def __getattr__(self, name: str) -> Any:
                    return Anything()

            return Anything()

    with pytest.raises(UsageError, match=message) as caught:
        verb(NoSession(None, Console(), REAL_CLOCK), *arguments, **options)

    assert "\n" not in caught.value.message
    assert fix in str(caught.value.fix)


def test_a_line_break_in_a_name_stays_in_its_line() -> None:
    error = StratusError("there is no such object", where="s3://my-bucket/two\nlines", code="404")

    assert [str(line) for line in error.lines()] == ["s3://my-bucket/two^Jlines: there is no such object (404)"]
