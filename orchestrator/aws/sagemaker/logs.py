"""Lines that containers of SageMaker have written, from CloudWatch Logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.aws.client import Clients

TRAINING_GROUP = "/aws/sagemaker/TrainingJobs"
MAX_LINE_CHARS = 1 << 18
"""CloudWatch's own limit of an event is 256 KiB."""


def client(clients: Clients) -> Any:
    """Return the client of CloudWatch Logs, which takes 0.2 s to create: once before the first line is waited for."""
    return clients.service("logs")


@dataclass
class LogReader:
    """Reads the streams of one job; each call returns what has come since the last one.

    :param group: of the streams.
    :param prefix: of the streams' names, such as ``JOB/``.
    """

    clients: Clients
    group: str
    prefix: str
    _tokens: dict[str, str] = field(default_factory=dict)

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield (container, line); none while SageMaker has not created the streams.

        :raises StratusError: CloudWatch refused, or does not answer.
        """
        with self.clients.translate_errors("reading the job's log"):
            for stream in self._streams():
                container = stream.removeprefix(self.prefix).rpartition("-")[0] or stream
                for message in self._messages(stream):
                    for line in message[:MAX_LINE_CHARS].splitlines() or [""]:
                        yield container, line

    def _streams(self) -> list[str]:
        pages = self._client.get_paginator("describe_log_streams")
        try:
            answers = list(pages.paginate(logGroupName=self.group, logStreamNamePrefix=self.prefix))
        except self._client.exceptions.ResourceNotFoundException:
            # The group is created with the account's first job, some time after that has begun.
            return []
        return [stream["logStreamName"] for answer in answers for stream in answer["logStreams"]]

    def _messages(self, stream: str) -> Iterator[str]:
        while True:
            options: dict[str, Any] = {"logGroupName": self.group, "logStreamName": stream, "startFromHead": True}
            if token := self._tokens.get(stream):
                options["nextToken"] = token
            try:
                response = self._client.get_log_events(**options)
            except errors.error_types() as error:
                if errors.code_of(error) == "ResourceNotFoundException":
                    return
                raise
            yield from (str(event["message"]) for event in response["events"])
            # The forward token repeats at the end of what there is.
            if response["nextForwardToken"] == token:
                return
            self._tokens[stream] = response["nextForwardToken"]

    @property
    def _client(self) -> Any:
        return self.clients.service("logs")
