"""Package of Stratus: ``pip install .`` gives the command ``stratus``, ``.[local]`` the embedded cloud as well."""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXAMPLES = "examples"


def version() -> str:
    """Return the version, which lives in the package itself and nowhere else."""
    found = re.search(
        r'^__version__ = "(.+)"$', (ROOT / "orchestrator/core/version.py").read_text(encoding="utf-8"), re.M
    )
    if found is None:
        raise SystemExit("orchestrator/core/version.py names no __version__")
    return found[1]


def shipped(top: str) -> list[tuple[str, list[str]]]:
    """Return the files of a folder as setuptools wants its data files: one entry for each folder."""
    found = []
    for folder, inner, names in os.walk(top):
        inner[:] = sorted(
            name for name in inner if not name.startswith((".", "__")) and name not in ("data", "outputs", "wheels")
        )
        files = [os.path.join(folder, name) for name in sorted(names) if not name.startswith(".")]
        found.append((os.path.join("share", "stratus", folder), files))
    return found


# Paths below are relative; a build may start anywhere.
os.chdir(ROOT)

setup(
    name="stratus",
    version=version(),
    description="An IPython cockpit for machine-learning jobs on EC2, on one VM or on many",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["orchestrator*", "localcloud*"]),
    package_data={
        "orchestrator": ["remote/*", "remote/*/*", "config/first_job/*", "config/first_job/data/*"],
        "localcloud.contract": ["*.toml"],
        "localcloud.hosts": ["system_faults/*"],
        "localcloud.hosts.docker": ["host_image/*"],
        "localcloud.hosts.process": ["bin/*", "faulty_bin/*", "gpu_bin/*", "efa_bin/*"],
        "localcloud.hosts.vm": ["*.sh", "rootfs/*"],
    },
    py_modules=["run_interface", "stratus"],
    entry_points={"console_scripts": ["stratus = run_interface:main"]},
    data_files=[*shipped("config"), *shipped(EXAMPLES)],
    zip_safe=False,
    install_requires=[
        "boto3>=1.40",
        "cryptography>=43",
        # fabric keeps invoke below 3.
        "fabric>=3.2.3,<4",
        "invoke>=2.2,<3",
        "ipython>=9",
        "paramiko>=4,<6",
        "platformdirs>=4",
        "rich>=13",
    ],
    extras_require={
        # What makes the example's synthetic scenes on this computer.
        "demo": ["h5py>=3.11", "numpy>=2"],
        "local": ["moto[ec2,s3,ssm,sagemaker,server]>=5.2.5", "asyncssh>=2.18"],
        "dev": [
            "boto3-stubs[ec2,s3,ssm,sts]",
            "coverage",
            "hypothesis",
            "ipykernel",
            "jupyter_client",
            "mypy",
            "pandas",
            "pexpect",
            "pytest>=8",
            "pytest-xdist",
            "ruff",
            "selenium",
            "types-paramiko",
        ],
        "docs": ["pexpect", "pyte"],
    },
)
