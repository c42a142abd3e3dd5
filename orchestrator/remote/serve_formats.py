"""Content of requests and answers: CSV, JSON, JSON lines, .npy, .npz, anything else as bytes.

Numbers are written so that they are read back with the same bits.
"""

from __future__ import annotations

import io
import json
from typing import Any

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"
NPY, NPZ, BYTES, TEXT = "application/x-npy", "application/x-npz", "application/octet-stream", "text/plain"
MAX_SHOWN = 40


class FormatError(ValueError):
    """Content that cannot be read or written; the message is one line.

    :ivar status: of the HTTP answer: 400, 406 or 415.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def media_type(header: str) -> str:
    """Return a header's type without its parameters."""
    return header.partition(";")[0].strip().lower()


def decode(body: bytes, content_type: str) -> Any:
    """Return a request's data: an array (a list of lists without NumPy), what JSON holds, or bytes.

    :raises FormatError: the body is not of its type.
    """
    kind = media_type(content_type)
    reader = {CSV: read_csv, JSON: read_json, JSON_LINES: read_json_lines, NPY: read_npy, NPZ: read_npz}.get(kind)
    return body if reader is None else reader(body)


def read_csv(body: bytes) -> Any:
    """Return the numbers of lines of comma-separated values."""
    rows = [read_row(number, line) for number, line in enumerate(lines_of(body), 1) if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise FormatError(f"row {number} has {len(row)} values, row 1 has {len(rows[0])}")
    if not rows:
        raise FormatError("the request is empty: send a line of numbers for each row")
    try:
        import numpy
    except ImportError:
        return rows
    return numpy.array(rows, dtype=numpy.float64)


def read_row(number: int, line: str) -> list[float]:
    """Return the numbers of one line."""
    values = []
    for text in line.split(","):
        try:
            values.append(float(text))
        except ValueError:
            raise FormatError(f"line {number}: {text.strip()[:MAX_SHOWN]!r} is not a number") from None
    return values


def lines_of(body: bytes) -> list[str]:
    """Return the lines of a text."""
    try:
        return body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"not UTF-8 text: byte {error.start}") from None


def read_json(body: bytes) -> Any:
    """Return what a JSON document holds."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from None


def read_json_lines(body: bytes) -> list[Any]:
    """Return what each line holds."""
    return [read_json(line.encode()) for line in lines_of(body) if line.strip()]


def read_npy(body: bytes) -> Any:
    """Return one NumPy array, or the arrays of a .npz file by name; pickled objects are refused."""
    import numpy

    try:
        loaded = numpy.load(io.BytesIO(body), allow_pickle=False)
    # Its errors come from headers, the zip format and the struct module.
    except Exception as error:
        raise FormatError(f"not a NumPy file of numbers: {' '.join(str(error).split())}") from None
    return loaded


def read_npz(body: bytes) -> dict[str, Any]:
    """Return the arrays of a .npz file by name."""
    import numpy

    loaded = read_npy(body)
    if isinstance(loaded, numpy.ndarray):
        raise FormatError("not a .npz file: .npy is application/x-npy")
    try:
        return {name: loaded[name] for name in loaded.files}
    except Exception as error:
        raise FormatError(f"not a NumPy file of numbers: {' '.join(str(error).split())}") from None


def encode(result: Any, accept: str, content_type: str) -> tuple[bytes, str]:
    """Return an answer's body and type: the accepted one, by default the request's own type if the result fits it.

    :raises FormatError: the result does not fit the accepted type.
    """
    if isinstance(result, bytes | bytearray):
        return bytes(result), BYTES
    if isinstance(result, str):
        return result.encode(), TEXT
    wanted = [kind for kind in map(media_type, accept.split(",")) if kind in WRITERS]
    if wanted:
        return WRITERS[wanted[0]](result), wanted[0]
    if accept and "*/*" not in accept and "application/*" not in accept:
        raise FormatError(f"Accept {accept[:MAX_SHOWN]!r} is not one of {', '.join(WRITERS)}", 406)
    kind = default_type(result, media_type(content_type))
    return WRITERS[kind](result), kind


def default_type(result: Any, requested: str) -> str:
    """Return the type of an answer whose request accepts any."""
    if isinstance(result, dict):
        return JSON if requested in (JSON, CSV, JSON_LINES) else NPZ if holds_arrays(result) else JSON
    return requested if requested in (CSV, JSON, JSON_LINES, NPY) else NPY if hasattr(result, "dtype") else JSON


def holds_arrays(result: dict[Any, Any]) -> bool:
    """Return True if all values are NumPy arrays."""
    return bool(result) and all(hasattr(value, "dtype") for value in result.values())


def plain(value: Any) -> Any:
    """Return arrays and their numbers as Python's own; single precision becomes double without a change."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def write_csv(result: Any) -> bytes:
    """Return one line for each row; ``repr`` has as many digits as a number needs."""
    rows = plain(result)
    if isinstance(rows, dict):
        raise FormatError("predictions by name do not fit text/csv: accept application/json", 406)
    rows = rows if isinstance(rows, list) else [rows]
    lines = [",".join(map(format_value, row if isinstance(row, list) else [row])) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def format_value(value: Any) -> str:
    """Return one value of a line."""
    if isinstance(value, (list, dict)):
        raise FormatError("predictions of more than two dimensions do not fit text/csv: accept application/json", 406)
    return value if isinstance(value, str) else repr(value)


def write_json(result: Any) -> bytes:
    """Return a JSON document."""
    return json.dumps(plain(result)).encode() + b"\n"


def write_json_lines(result: Any) -> bytes:
    """Return a JSON document for each row."""
    rows = plain(result)
    return b"".join(write_json(row) for row in (rows if isinstance(rows, list) else [rows]))


def write_npy(result: Any) -> bytes:
    """Return a .npy file."""
    import numpy

    if isinstance(result, dict):
        raise FormatError("predictions by name do not fit application/x-npy: accept application/x-npz", 406)
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.asarray(result), allow_pickle=False)
    return buffer.getvalue()


def write_npz(result: Any) -> bytes:
    """Return a .npz file."""
    import numpy

    if not isinstance(result, dict):
        raise FormatError("predictions without names do not fit application/x-npz: accept application/x-npy", 406)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {str(name): numpy.asarray(value) for name, value in result.items()}
    numpy.savez(buffer, **arrays)
    return buffer.getvalue()


WRITERS = {CSV: write_csv, JSON: write_json, JSON_LINES: write_json_lines, NPY: write_npy, NPZ: write_npz}
