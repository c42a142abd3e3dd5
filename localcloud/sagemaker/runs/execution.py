"""Interface between the life of a job and what executes it: processes, or a simulation in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from localcloud.sagemaker.training.record import TrainingJob


@dataclass(frozen=True)
class Outcome:
    """End of one run of a job.

    :param exit_code: of the container that failed first; 0 if none did.
    :param failure: reason of a failure; empty if the job succeeded.
    :param model_url: S3 URL of the model's archive; empty if nothing was uploaded.
    """

    exit_code: int = 0
    failure: str = ""
    model_url: str = ""


class RunEvents(Protocol):
    """Events of a run, from any thread."""

    def stage(self, secondary: str) -> None:
        """Note that the run enters Downloading, Training or Uploading."""

    def ended(self, outcome: Outcome) -> None:
        """Note that the run has ended; called once, after everything was uploaded."""


class Run(Protocol):
    """A run of a job: one set of instances; a spot job may have several."""

    def stop(self, grace_s: float, *, uploads: bool = True) -> None:
        """Send SIGTERM, and SIGKILL after the grace; returns at once.

        :param uploads: False drops models and outputs, as an interruption does; checkpoints are kept.
        """


class Executor(Protocol):
    """Executes runs."""

    def start(self, job: TrainingJob, events: RunEvents) -> Run:
        """Start a run; returns at once."""

    def close(self) -> None:
        """End every run."""
