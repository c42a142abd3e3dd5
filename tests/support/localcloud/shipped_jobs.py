"""The shipped jobs in forms that take seconds, and predictions of their models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.aws.sagemaker import registry
from orchestrator.install.local_image import managed_name
from orchestrator.session import Session
from tests.support.jobs.framework_jobs import MXNET, TRAINING
from tests.support.localcloud.pushed_images import put_image
from tests.support.paths import ROOT

PREDICT = """import io, sys, numpy
from pathlib import Path
from predict import load, predict
data = Path(sys.argv[2]).read_bytes()
result = predict(load(sys.argv[1]), numpy.load(io.BytesIO(data)) if data[:6] == b"\\x93NUMPY" else data)
numpy.savez(sys.argv[3], **(result if isinstance(result, dict) else {"rows": result}))
"""


@dataclass(frozen=True)
class ShippedJob:
    """A job of examples/.

    :param ini: its file, in the folder.
    :param small: texts of the file -> shorter work.
    :param data: command that creates sample data; empty for a job that does so itself.
    :param python: interpreter of an environment with its packages.
    :param request: returns a request for predictions, from the job's folder.
    :param suffix: of a file with it.
    :param has_image: True if it trains in an image of its own, which ``LOCALCLOUD_IMAGES`` names.
    """

    folder: str
    ini: str
    small: dict[str, str]
    data: tuple[str, ...]
    python: Path
    request: Callable[[Path], bytes]
    suffix: str = ".npy"
    has_image: bool = False

    def copy(self, target: Path, *, prepared: bool) -> Path:
        """Copy the job, and return its file.

        :param prepared: its environment has the packages of ``python`` instead of its own requirements or image.
        """
        ignored = shutil.ignore_patterns("data", "outputs", "wheels", "__pycache__")
        shutil.copytree(ROOT / "examples" / self.folder, target, ignore=ignored)
        if self.data:
            subprocess.run([self.python, *self.data], cwd=target, check=True, capture_output=True, timeout=120)
        text = (target / self.ini).read_text()
        for long, short in self.small.items():
            assert long in text
            text = text.replace(long, short)
        if prepared:
            lines = f"python = {self.python}\nsystem_packages = yes"
            text = text.replace("runtime = docker", "runtime = venv")
            text = text.replace("requirements = requirements.txt", lines)
        (target / self.ini).write_text(text)
        return target / self.ini

    def predict(self, folder: Path, outputs: Path, request: Path) -> Any:
        """Return the predictions of a run's model in this computer's process, by name."""
        import numpy

        answer = request.with_suffix(".npz")
        command = [str(self.python), "-c", PREDICT, str(outputs), str(request), str(answer)]
        subprocess.run(command, cwd=folder, check=True, timeout=120)
        return dict(numpy.load(answer))


def push_image(session: Session, file: Path) -> None:
    """Put the image of a job into ECR, as PushImage() does with an engine."""
    context = session.context
    name = managed_name(session.jobs.load_job(file), session.settings.install)
    digest = put_image(context.clients.service("ecr"), name)
    entry = context.journal.record_intent(registry.PUSH, name=name, **context.cluster_id.journal_fields)
    place = f"{context.identity.account}.dkr.ecr.{context.clients.region}.amazonaws.com"
    context.journal.record_outcome(entry, image=f"{place}/{name.rpartition(':')[0]}@{digest}")


def granule(folder: Path) -> bytes:
    """Return an archive of the first granule."""
    import io
    import zipfile

    content = io.BytesIO()
    files = sorted((folder / "data/granules").glob("V*MOD.A*.nc"), key=lambda path: path.name.split(".")[1:3])
    with zipfile.ZipFile(content, "w") as archive:
        for path in files[:2]:
            archive.write(path, path.name)
    return content.getvalue()


def array(*shape: int) -> Callable[[Path], bytes]:
    """Return a request of bytes of this shape, all different."""

    def request(_: Path) -> bytes:
        import io

        import numpy

        content = io.BytesIO()
        numpy.save(content, (numpy.arange(numpy.prod(shape)) * 37 % 251).astype(numpy.uint8).reshape(shape))
        return content.getvalue()

    return request


HERE = Path(sys.executable)
BASELINE = "--epochs 12 --baseline"
SHIPPED = {
    "granules": ShippedJob(
        "cloud_retrieval",
        "granules.ini",
        {"--out outputs": "--out outputs --folds 2 --trees 2 --maps 0"},
        ("make_granules.py", "--out", "data/granules", "--granules", "2", "--lines", "96", "--pixels", "64"),
        HERE,
        granule,
        ".zip",
    ),
    "images": ShippedJob(
        "domain_adaptation",
        "job.ini",
        {"--epochs 12 --baseline": "--iters 3"},
        ("synthesize.py", "--out", "data", "--size", "16", "--share", "0.1"),
        TRAINING,
        array(3, 3, 32, 32),
        has_image=True,
    ),
    "sensors": ShippedJob(
        "domain_adaptation",
        "sensors.ini",
        {"--epochs 15 --baseline": "--epochs 2"},
        ("make_columns.py", "--out", "data/columns", "--granules", "20", "--columns", "60"),
        TRAINING,
        array(3, 20),
        has_image=True,
    ),
    "mnist_kvstore": ShippedJob(
        "mnist_kvstore",
        "job.ini",
        {"train_digits.py --data data": "train_digits.py --epochs 2 --data data"},
        (),
        MXNET,
        array(3, 64),
        has_image=True,
    ),
}
