"""Requests of predictions from arrays, lists, files and bytes, and answers as arrays, lists or bytes."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.aws.sagemaker.hosting.invocations import Payload
from orchestrator.core.errors import StratusError, UsageError

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
NPY, NPZ, BYTES = "application/x-npy", "application/x-npz", "application/octet-stream"
BY_SUFFIX = {
    ".csv": CSV,
    ".json": JSON,
    ".jsonl": JSON_LINES,
    ".npy": NPY,
    ".npz": NPZ,
    ".h5": "application/x-hdf5",
    ".hdf5": "application/x-hdf5",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}


READABLE = (CSV, JSON, JSON_LINES, NPY, NPZ)


def content_type(name: str) -> str:
    """Return the type of a file by its name."""
    return BY_SUFFIX.get(Path(name).suffix.lower(), BYTES)


def encode(data: Any) -> Payload:
    """Return a request.

    :param data: a NumPy array or a DataFrame; lists, numbers or a dictionary; the path of a file; or bytes.
    :raises UsageError: it is none of them, or the file cannot be read.
    """
    if isinstance(data, bytes | bytearray):
        return Payload(bytes(data), BYTES)
    if isinstance(data, str | Path):
        return _of_file(Path(data))
    # A DataFrame of pandas, which need not be installed here.
    data = data.to_numpy() if hasattr(data, "to_numpy") else data
    if hasattr(data, "dtype"):
        return Payload(_npy(data), NPY)
    if isinstance(data, Mapping) and data and all(hasattr(value, "dtype") for value in data.values()):
        return Payload(_npz(data), NPZ)
    try:
        return Payload(json.dumps(data).encode(), JSON)
    except (TypeError, ValueError) as error:
        kinds = "a NumPy array, a DataFrame, lists of numbers, a dictionary of them, a file's path, or bytes"
        raise UsageError(f"{type(data).__name__} cannot be sent: {error}", fix=f"send {kinds}") from None


def _of_file(path: Path) -> Payload:
    try:
        return Payload(path.expanduser().read_bytes(), content_type(path.name))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _npy(data: Any) -> bytes:
    import numpy

    buffer = io.BytesIO()
    try:
        numpy.save(buffer, data, allow_pickle=False)
    except ValueError:
        raise UsageError(f"an array of {data.dtype} cannot be sent: numbers only") from None
    return buffer.getvalue()


def _npz(data: Mapping[str, Any]) -> bytes:
    import numpy

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {str(name): value for name, value in data.items()}
    numpy.savez(buffer, **arrays)
    return buffer.getvalue()


def size(data: Any) -> int:
    """Return the bytes of a file, which need not be read for that; 0 for anything else."""
    if not isinstance(data, str | Path):
        return 0
    with contextlib.suppress(OSError):
        return Path(data).expanduser().stat().st_size
    return 0


def decode(answer: Payload) -> Any:
    """Return an answer as its type tells: arrays, lists, text or bytes.

    :raises StratusError: it is not what its type tells, or an array, and NumPy is not installed here.
    """
    try:
        return _decode(answer)
    # What a container answers may be anything.
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        text = f"the answer is not {answer.content_type}, its content type: {reason}"
        raise StratusError(text, fix="predict.py returns an array, lists, a dictionary, text or bytes") from None


def _decode(answer: Payload) -> Any:
    kind = answer.content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return json.loads(answer.body)
    if kind == JSON_LINES:
        return [json.loads(line) for line in answer.body.splitlines() if line.strip()]
    if kind == CSV:
        return _rows(answer.body.decode())
    if kind in (NPY, NPZ):
        return _arrays(answer.body)
    return answer.body.decode() if kind.startswith("text/") else answer.body


def _rows(text: str) -> list[list[float | str]]:
    return [[_number(value) for value in line.split(",")] for line in text.splitlines() if line]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _arrays(body: bytes) -> Any:
    try:
        import numpy
    except ImportError:
        fix = 'pip install numpy, or ask for JSON: accept = "application/json"'
        raise UsageError("the answer is an array, and NumPy is not installed here", fix=fix) from None
    loaded = numpy.load(io.BytesIO(body), allow_pickle=False)
    return loaded if isinstance(loaded, numpy.ndarray) else {name: loaded[name] for name in loaded.files}


def plain(value: Any) -> Any:
    """Return a decoded answer as JSON has it; bytes as their number."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return {"bytes": len(value)} if isinstance(value, bytes) else value
