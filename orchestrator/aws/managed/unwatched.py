"""Errors while something that is billed is watched: it was created, and does not end because it cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.core.errors import JobFailed, LeftRunning, StratusError, UsageError
from orchestrator.core.next_step import NextStep, Text


@contextmanager
def billed_on(resource: str, fix: Text) -> Iterator[None]:
    """Add to an error of watching a resource that the resource is billed nonetheless.

    :param resource: ``the training job stratus-ml-...``.
    :param fix: what watches it again, and what ends it.
    :raises LeftRunning: AWS refused, or does not answer, while the block ran.
    """
    try:
        yield
    # The end of a job, and what is not there at all, are no such errors.
    except (JobFailed, LeftRunning, UsageError):
        raise
    except StratusError as error:
        text = f"{resource} is billed until it ends, and cannot be watched:"
        raise LeftRunning(text, left=error.lines(), fix=fix) from error


def run_fix(run_id: str) -> Text:
    """Return what to type for a run that cannot be watched."""
    short_id = run_id.rsplit("-", 1)[-1]
    return NextStep("Attach", short_id) + "  watches it again; " + NextStep("CancelJob", short_id) + "  ends it"
