"""Inference server of a job: loads the model, then answers SageMaker's requests. Standard library only.

    python serve.py MODEL-FOLDER

GET /ping is 200 once the model is loaded, 503 before; POST /invocations answers with predictions;
GET /execution-parameters suggests how a batch transform calls. The job's folder has a predict.py with load(folder)
and predict(model, data); or its own server, [serve] command, is started instead.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

import serve_formats

# A batch transform sends at most this much at once; a real-time endpoint takes 6 MiB, an asynchronous one 1 GB.
MAX_BODY_BYTES = 1 << 30
DEFAULT_PORT = 8080
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class Model:
    """The job's model and its predictions, one request at a time, because few libraries allow more."""

    def __init__(self) -> None:
        self.predict: Callable[[Any], Any] | None = None
        self._lock = threading.Lock()

    def load(self, folder: Path) -> None:
        """Import predict.py from the working directory and load the model; a failure ends the process."""
        try:
            sys.path.insert(0, os.getcwd())
            module = importlib.import_module("predict")
            loaded = module.load(str(folder))
        # Anything: a health check that never passes would only be noticed minutes later.
        except BaseException as error:
            traceback.print_exc()
            print(f"serve: predict.py cannot load the model: {one_line(error)}", file=sys.stderr, flush=True)
            os._exit(1)
        self.predict = lambda data: module.predict(loaded, data)
        print(f"serve: model loaded from {folder}", flush=True)

    def answer(self, body: bytes, content_type: str, accept: str) -> tuple[bytes, str]:
        """Return predictions for one request, and their type."""
        assert self.predict is not None
        data = serve_formats.decode(body, content_type)
        with self._lock:
            result = self.predict(data)
        return serve_formats.encode(result, accept, content_type)


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Handler(BaseHTTPRequestHandler):
    """Requests of SageMaker."""

    protocol_version = "HTTP/1.1"
    server: Server
    # Head and body of an answer are two writes; Nagle's algorithm would delay the second by 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer health checks, and the questions of a batch transform."""
        if self.path == "/ping":
            self.reply(200 if self.server.model.predict else 503, b"\n")
        elif self.path == "/execution-parameters":
            parameters = {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}
            self.reply(200, json.dumps(parameters).encode(), "application/json")
        else:
            self.refuse(404, f"no page {self.path}: /ping, /invocations and /execution-parameters are there")

    def do_POST(self) -> None:
        """Answer a request for predictions."""
        body = self.read_body()
        if body is None:
            return
        if self.path != "/invocations":
            self.refuse(404, f"no page {self.path}: predictions are at /invocations")
        elif self.server.model.predict is None:
            self.refuse(503, "the model is being loaded")
        else:
            self.predict(body)

    def predict(self, body: bytes) -> None:
        """Answer with predictions, or with one line on why there are none."""
        content_type = self.headers.get("Content-Type") or "application/octet-stream"
        try:
            content, answer_type = self.server.model.answer(body, content_type, self.headers.get("Accept") or "")
        except serve_formats.FormatError as error:
            self.refuse(error.status, one_line(error))
        except ValueError as error:
            self.refuse(400, one_line(error))
        except Exception as error:
            traceback.print_exc()
            self.refuse(500, f"{type(error).__name__}: {one_line(error)}")
        else:
            self.reply(200, content, answer_type)

    def read_body(self) -> bytes | None:
        """Return the body of a request; None if it was refused."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self.read_chunks()
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self.refuse(413, f"Content-Length {length} is not a number up to {MAX_BODY_BYTES}")
            return None
        return self.rfile.read(int(length))

    def read_chunks(self) -> bytes | None:
        """Return a body that was sent in chunks."""
        chunks, total = [], 0
        while size := int(self.rfile.readline(100).partition(b";")[0].strip() or b"0", 16):
            total += size
            if total > MAX_BODY_BYTES:
                self.close_connection = True
                self.refuse(413, f"the request has more than {MAX_BODY_BYTES} bytes")
                return None
            chunks.append(self.rfile.read(size))
            self.rfile.readline(100)
        self.rfile.readline(100)
        return b"".join(chunks)

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error of one line, and log it."""
        print(f"serve: {self.path} {status}: {message}", file=sys.stderr, flush=True)
        self.reply(status, f"{message}\n".encode(), "text/plain; charset=utf-8")

    def reply(self, status: int, content: bytes, content_type: str = "text/plain") -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if attributes := self.headers.get(CUSTOM_ATTRIBUTES):
            self.send_header(CUSTOM_ATTRIBUTES, attributes)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: health checks come every few seconds."""


class Server(ThreadingHTTPServer):
    """The server with its model."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.model = Model()


def main(model_folder: Path) -> None:
    """Start the job's own server, or answer requests until SIGTERM."""
    options = json.loads((model_folder / "stratus" / "serve.json").read_text(encoding="utf-8"))
    os.chdir(model_folder / "code")
    os.environ["STRATUS_OUTPUTS"] = str(model_folder / "outputs")
    if options["command"]:
        # In the place of this process, so that SIGTERM reaches the server.
        os.execvp("sh", ["sh", "-c", options["command"]])
    # Empty: on every address, as SageMaker requires.
    address = os.environ.get("STRATUS_BIND_TO_ADDRESS", ""), port()
    server = Server(address)

    def stop(_number: int, _frame: FrameType | None) -> None:
        # In a thread: shutdown() waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=server.model.load, args=(model_folder / "outputs",), daemon=True).start()
    server.serve_forever()
    sys.stdout.flush()
    # At once: threads of the model's libraries may not end by themselves, and SIGKILL follows after 30 s.
    os._exit(0)


def port() -> int:
    """Return the port that SageMaker asks for."""
    return int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or DEFAULT_PORT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
