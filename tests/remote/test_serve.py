"""The inference server over HTTP: SageMaker's contract, formats, errors of one line, the end by SIGTERM."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from orchestrator.install import model_archive
from orchestrator.jobs import spec
from tests.support.jobs.served_job import PREDICT, write_job, write_run
from tests.support.localcloud.clients import wait_until

ADDRESS = "127.0.0.1"
CSV, JSON, NPY, NPZ = "text/csv", "application/json", "application/x-npy", "application/x-npz"


@dataclass(frozen=True)
class Served:
    """A server and its port."""

    process: subprocess.Popen[str]
    port: int

    def get(self, path: str) -> int:
        return self.request(path)[0]

    def invoke(self, body: bytes, content_type: str, accept: str = "") -> tuple[int, str, bytes]:
        headers = {"Content-Type": content_type} | ({"Accept": accept} if accept else {})
        return self.request("/invocations", body, headers)

    def request(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"http://{ADDRESS}:{self.port}{path}", body, dict(headers or {}))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()
        except urllib.error.URLError:
            return 0, "", b""


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(folder: Path, ini: str = "", predict: str = PREDICT) -> Iterator[Served]:
    """Unpack a model as SageMaker does, and start its server."""
    job, run = spec.load(write_job(folder / "line", ini, predict), {}), write_run(folder / "runs", "line")
    with tarfile.open(model_archive.pack(job, run, folder / "model.tar.gz").path) as tar:
        tar.extractall(folder / "ml/model", filter="data")
    port = free_port()
    settings = {"SAGEMAKER_BASE_DIR": str(folder / "ml"), "SAGEMAKER_BIND_TO_PORT": str(port)}
    settings |= {"STRATUS_BIND_TO_ADDRESS": ADDRESS, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", str(folder / "ml/model/stratus/serve.sh")]
    process = subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True)
    try:
        yield Served(process, port)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with started(tmp_path_factory.mktemp("serve")) as served:
        wait_until(lambda: served.get("/ping") == 200)
        yield served


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_every_format_gives_the_same_bits(line: Served) -> None:
    inputs = np.array([[1.0], [1 / 3], [-2.5e-7]])
    expected = [0.1 * x + 0.7 for x in inputs[:, 0].tolist()]

    csv = line.invoke("".join(f"{x!r}\n" for x in inputs[:, 0].tolist()).encode(), CSV)
    document = line.invoke(json.dumps(inputs.tolist()).encode(), JSON)
    array = line.invoke(npy(inputs), NPY)
    accepted = line.invoke(npy(inputs), NPY, f"{JSON};q=1")

    assert csv[:2] == (200, CSV)
    assert [float(text) for text in csv[2].split()] == expected
    assert [row[0] for row in json.loads(document[2])] == expected
    assert np.load(io.BytesIO(array[2]))[:, 0].tolist() == expected
    assert (accepted[1], [row[0] for row in json.loads(accepted[2])]) == (JSON, expected)


def test_predictions_by_name_are_json_or_npz(line: Served) -> None:
    body = json.dumps({"a": [1.0, 2.0]}).encode()

    assert json.loads(line.invoke(body, JSON)[2]) == {"a": [0.1 * 1.0 + 0.7, 0.1 * 2.0 + 0.7]}
    with np.load(io.BytesIO(line.invoke(body, JSON, NPZ)[2])) as arrays:
        assert arrays["a"].tolist() == [0.1 * 1.0 + 0.7, 0.1 * 2.0 + 0.7]


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "message"),
    [
        (b"1\nx\n", CSV, "", 400, "line 2: 'x' is not a number"),
        (b"1,2\n3\n", CSV, "", 400, "row 2 has 1 values, row 1 has 2"),
        (b"", CSV, "", 400, "the request is empty: send a line of numbers for each row"),
        (b"\xff", CSV, "", 400, "not UTF-8 text: byte 0"),
        (b"[1", JSON, "", 400, "not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"),
        (b"junk", NPY, "", 400, "not a NumPy file of numbers: "),
        (
            npy(np.array([{}], dtype=object)),
            NPY,
            "",
            400,
            "not a NumPy file of numbers: Object arrays cannot be loaded",
        ),
        (npy(np.zeros((1, 1))), NPZ, "", 400, "not a .npz file: .npy is application/x-npy"),
        (b"1\n", CSV, "image/png", 406, "Accept 'image/png' is not one of text/csv, application/json, "),
        (b'{"a": [1]}', JSON, CSV, 406, "predictions by name do not fit text/csv: accept application/json"),
        (b"1\n", "image/png", "", 500, "KeyError: 'bytes'"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(
    line: Served, body: bytes, content_type: str, accept: str, status: int, message: str
) -> None:
    answer = line.invoke(body, content_type, accept)

    assert (answer[0], answer[2].count(b"\n")) == (status, 1)
    assert answer[2].decode().startswith(message)


def test_batch_transforms_are_told_how_to_call_and_other_pages_are_not_there(line: Served) -> None:
    assert json.loads(line.request("/execution-parameters")[2])["BatchStrategy"] == "MULTI_RECORD"
    assert (line.get("/other"), line.request("/other", b"")[0]) == (404, 404)


def test_ping_is_503_while_the_model_is_loaded_and_sigterm_ends_the_server(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    predict = (
        f"import time, pathlib\ndef load(_):\n    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
    )
    with started(tmp_path, predict=predict + "def predict(model, data): return data\n") as served:
        wait_until(lambda: served.get("/ping") == 503)
        assert served.invoke(b"1\n", CSV)[0] == 503
        gate.touch()
        wait_until(lambda: served.get("/ping") == 200)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=30) == 0


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one_line(tmp_path: Path) -> None:
    predict = "def load(folder): raise FileNotFoundError('model.pt is missing')\ndef predict(model, data): return 0\n"
    with started(tmp_path, predict=predict) as served:
        assert served.process.wait(timeout=30) == 1
        assert served.process.stderr is not None
        last = served.process.stderr.read().splitlines()[-1]
        assert last == "serve: predict.py cannot load the model: model.pt is missing"


def test_a_job_starts_its_own_server(tmp_path: Path) -> None:
    command = (
        'exec python -m http.server --bind "$STRATUS_BIND_TO_ADDRESS" -d "$STRATUS_OUTPUTS" $SAGEMAKER_BIND_TO_PORT'
    )
    with started(tmp_path, f"[serve]\ncommand = {command}\n", predict="") as served:
        wait_until(lambda: served.get("/model.json") == 200)
