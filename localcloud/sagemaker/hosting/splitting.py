"""Records of a batch transform: input objects in requests, answers in an output object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from localcloud.aws.wsgi import Params


class TooLarge(Exception):
    """A record exceeds MaxPayloadInMB."""


def payloads(content: bytes, params: Params) -> Iterator[bytes]:
    """Yield the bodies of the requests for one object.

    :param params: request of the transform job.
    :raises TooLarge: a record does not fit into a request.
    """
    limit = params.get("MaxPayloadInMB", 6) << 20
    if params["TransformInput"].get("SplitType", "None") == "None":
        # MaxPayloadInMB 0: no limit, the object is streamed.
        if limit and len(content) > limit:
            raise TooLarge
        yield content
        return
    single = params.get("BatchStrategy") == "SingleRecord"
    yield from _packed(content.splitlines(keepends=True), 0 if single else limit, limit)


def _packed(lines: Iterable[bytes], target: int, limit: int) -> Iterator[bytes]:
    """Yield whole lines, as many together as ``target`` bytes hold; 0: each alone."""
    batch = b""
    for line in lines:
        if len(line) > limit:
            raise TooLarge
        if batch and len(batch) + len(line) > target:
            yield batch
            batch = b""
        batch += line
    if batch:
        yield batch


def assemble(answers: Iterable[bytes], params: Params) -> bytes:
    """Return the content of an output object: with AssembleWith Line each answer ends with a line end."""
    if params["TransformOutput"].get("AssembleWith") != "Line":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)
