"""Journal of managed resources: what of an intent is known after its creation."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.aws.managed.log import ManagedLog
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import CloudRefused, StratusError
from orchestrator.core.journal import Journal
from tests.support.aws.values import CLUSTER_ID

ARN = "arn:aws:sagemaker:us-west-2:123456789012:training-job/a"


def refused(code: str) -> CloudRefused:
    return CloudRefused("no", code=code)


@pytest.mark.parametrize(
    ("error", "found", "is_open", "is_created"),
    [
        (None, "", True, True),
        # A repeated request whose first answer was lost; an internal error after the creation.
        (refused("ResourceInUse"), ARN, True, True),
        (refused("InternalFailure"), ARN, True, True),
        (StratusError("no answer"), ARN, True, True),
        (refused("ValidationException"), "", False, False),
        (refused("AccessDeniedException"), StratusError("no answer"), False, False),
        # It may be listed later.
        (refused("InternalFailure"), "", True, False),
        (StratusError("no answer"), "", True, False),
        (StratusError("no answer"), StratusError("no answer"), True, False),
    ],
)
def test_an_intent_is_open_while_its_resource_may_be_there(
    tmp_path: Path, error: StratusError | None, found: str | StratusError, is_open: bool, is_created: bool
) -> None:
    log = ManagedLog(Journal(tmp_path, REAL_CLOCK), lambda: CLUSTER_ID, REAL_CLOCK, ("training",))

    def create() -> str:
        assert [entry.facts["name"] for entry in log.open_entries()] == ["a"]
        if error:
            raise error
        return ARN

    def find() -> str:
        if isinstance(found, StratusError):
            raise found
        return found

    entry = log.record_intent("training", "a")
    if is_created:
        log.create(entry, create, find)
    else:
        with pytest.raises(StratusError, match="no"):
            log.create(entry, create, find)

    assert [(item.outcome or {}).get("arn", "") for item in log.open_entries()] == (
        [ARN * is_created] if is_open else []
    )
