"""Start Stratus: the shell, or one verb of it.

    python run_interface.py                       the shell, on the cloud that config/config.ini names
    python run_interface.py --local               the shell, with the same config on this computer's embedded cloud
    python run_interface.py [--local] VERB        one verb; --help lists them
    python run_interface.py -c 'LaunchInstances(2); InstallDeps()'
    python run_interface.py rehearse scenario.ini     an experiment with your config and injected faults

Any Python starts it: where packages are missing, the checkout's own environment (.venv) takes over.

The composition root: the only file that imports both the toolkit and the embedded cloud.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.interface.cli import startup

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.interface.cli.invocation import Setup

ROOT = Path(__file__).resolve().parent

# Names to import, one of each package in setup.py: those that are always needed, and those of the embedded cloud.
NEEDED = ("boto3", "cryptography", "fabric", "invoke", "IPython", "paramiko", "platformdirs", "rich")
NEEDED_LOCALLY = ("moto", "asyncssh", "werkzeug")

# Variables of the user's shell that could direct a rehearsal to a real account.
REAL_ACCOUNT = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)

# Settings that name resources of a real account, by section: on the embedded cloud they have their defaults.
ACCOUNT_SETTINGS = {
    "aws": ("profile", "vpc_id", "subnet_id", "security_group_id", "key_name"),
    "ssh": ("user", "private_key", "address"),
}

LOCAL_CONFIGS = ("config/local.ini", "config/config.ini", "config.ini")

# The functions below import when they are called: a Python that lacks the toolkit's packages, or is too old for it, has
# to get as far as start(); and Ctrl-C during an import at the top of this file would be a traceback.


def start() -> int:
    """Run this file's command line, with the checkout's own environment if this Python lacks packages."""
    import shlex

    missing = missing_packages(NEEDED)
    needs_more = {"--local", "rehearse"} & set(sys.argv) and missing_packages(NEEDED_LOCALLY)
    own_python = ROOT / ".venv/bin/python"
    # Compared by prefix, because a virtual environment's interpreter is a link to the one that it was created with.
    if (missing or needs_more) and own_python.exists() and Path(sys.prefix) != ROOT / ".venv":
        os.execv(own_python, [str(own_python), *sys.argv])
    if not missing:
        return main()
    setup = "scripts/setup" if Path.cwd() == ROOT else shlex.quote(str(ROOT / "scripts/setup"))
    print(f"{sys.executable}: missing packages: {', '.join(missing)}", file=sys.stderr)
    print(f"  {setup}  installs them into .venv, which this command uses from then on", file=sys.stderr)
    return 2


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return the packages that this Python cannot import; Python itself if it is too old."""
    import importlib.util

    too_old = ["Python 3.11 or newer"] if sys.version_info < (3, 11) else []
    return too_old + [name for name in names if importlib.util.find_spec(name) is None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    :param argv: None for that of this process.
    """
    if argv is None:
        return startup.run_program(lambda: main(sys.argv[1:]))
    import shlex
    import shutil

    from orchestrator.interface.cli import main as cli_main
    from orchestrator.interface.cli import parser

    # As it was typed: hints begin with it, and the working directory need not be the checkout.
    python = "python" if shutil.which("python") else "python3"
    program = "stratus" if Path(sys.argv[0]).name == "stratus" else f"{python} {shlex.quote(sys.argv[0])}"
    if argv[parser.verb_at(argv) :][:1] == ["rehearse"]:
        return rehearse(argv, program)
    return cli_main.main(argv, setup_for(argv, program))


def setup_for(argv: Sequence[str], program: str) -> Setup:
    """Return the circumstances of a command line: on the embedded cloud with ``--local`` before the verb."""
    from orchestrator.interface.cli import invocation, parser

    if "--local" not in argv[: parser.verb_at(argv)]:
        return invocation.Setup(program)
    return invocation.Setup(
        f"{program} --local", config=local_config(), local=True, prepare=use_embedded_cloud, adapt=rehearsed
    )


def use_embedded_cloud() -> None:
    """Start the embedded cloud unless it is running, and point this process at it and at no account."""
    import localcloud
    from orchestrator.interface.cli import invocation

    check_packages()
    try:
        environment = localcloud.up(tell=lambda line: print(line, file=sys.stderr, flush=True))
    except localcloud.LocalCloudError as error:
        raise invocation.NoCloud(str(error)) from error
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    os.environ.update(environment)


def check_packages(names: Sequence[str] = NEEDED_LOCALLY) -> None:
    """Raise unless the packages of the embedded cloud are installed.

    :raises UsageError: some are missing; its fix is the command that installs them.
    """
    from orchestrator.core.errors import UsageError

    if missing := missing_packages(names):
        message = f"the embedded cloud needs packages that are missing here: {', '.join(missing)}"
        raise UsageError(message, fix=f"{install_command()}  installs them")


def install_command() -> str:
    """Return the command that installs the packages of the embedded cloud into this Python."""
    import importlib.metadata
    import shlex

    try:
        requirements = importlib.metadata.requires("stratus") or []
    except importlib.metadata.PackageNotFoundError:
        return shlex.quote(str(ROOT / "scripts/setup"))
    # By their own names: the package index may have another project called stratus.
    wanted = [line.partition(";")[0].strip() for line in requirements if "extra == 'local'" in line.replace('"', "'")]
    return f"{shlex.quote(sys.executable)} -m pip install {' '.join(map(shlex.quote, wanted))}"


def rehearsed(settings: Settings) -> Settings:
    """Return the settings of a rehearsal: the user's, except for what exists in a real account only."""
    from dataclasses import replace

    from orchestrator.config.settings import AwsSettings, ClusterSettings, SshSettings

    cloud: dict[str, Any] = {
        "endpoint_url": os.environ.get("AWS_ENDPOINT_URL", ""),
        "ssh_from": "auto",
        "address_url": os.environ.get("AWS_ENDPOINT_URL", "") + "/_localcloud/client-address",
        # The only instance profile of the embedded account.
        "instance_profile": settings.aws.instance_profile and "rehearsal",
        "label": "rehearsal",
        "banner": "embedded cloud (no AWS account, nothing is billed)",
        "legacy_access_key": None,
        "legacy_secret_key": None,
    }
    aws = {name: getattr(AwsSettings(), name) for name in ACCOUNT_SETTINGS["aws"]} | cloud
    ssh = {name: getattr(SshSettings(), name) for name in ACCOUNT_SETTINGS["ssh"]}
    ssh["port"] = int(os.environ.get("REHEARSAL_SSH_PORT", settings.ssh.port))
    replaced = [("aws", name) for name in aws] + [("ssh", name) for name in ssh]
    cluster = settings.cluster
    # Images by id or by a parameter of the account; names and aliases exist on the embedded cloud, too.
    if cluster.image.startswith(("ami-", "/")) and not cluster.image.startswith("/aws/service/"):
        cluster = replace(cluster, image=ClusterSettings().image)
        replaced.append(("cluster", "image"))
    return replace(
        settings,
        cluster=cluster,
        aws=replace(settings.aws, **aws),
        ssh=replace(settings.ssh, **ssh),
        origins={**settings.origins, **dict.fromkeys(replaced, "--local")},
    )


def rehearse(argv: Sequence[str], program: str) -> int:
    """Run an experiment with injected faults, on an embedded cloud of its own."""
    from localcloud import LocalCloudError
    from localcloud import rehearse as rehearsal
    from orchestrator.core.errors import UsageError
    from orchestrator.interface.cli import invocation, parser
    from orchestrator.interface.cli import main as cli_main

    at = parser.verb_at(argv)
    named = [Path(argv[index + 1]) for index, word in enumerate(argv[:at]) if word == "--config"]
    config = named[-1] if named else local_config() if "--local" in argv[:at] else None
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    # The embedded cloud is to be removed before the process ends.
    startup.raise_on_interrupt()
    code = 0

    def run(arguments: Sequence[str]) -> int:
        nonlocal code
        code = cli_main.main(arguments, invocation.Setup(program, config=config, local=True, adapt=rehearsed))
        return code

    try:
        options = rehearsal.parse(argv[at + 1 :])
        check_packages()
        for line in rehearsal.play(options, run):
            print(line)
    except (LocalCloudError, UsageError) as error:
        print(error, file=sys.stderr)
        return 2
    return code


def local_config() -> Path | None:
    """Return the config that a rehearsal takes in the working directory; None if there is none."""
    own = [path for path in map(Path, LOCAL_CONFIGS) if path.is_file()]
    # The one that comes with a checkout stands beside the user's own, which is the one to rehearse.
    shipped = ROOT / "config/local.ini"
    return next((path for path in own if not _is_same(path, shipped)), own[0] if own else None)


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)


def load_ipython_extension(ip: Any) -> None:
    """Add the verbs to a running IPython or notebook, and ``%stratus``, which chooses their cloud and config."""
    from orchestrator.interface.shell import extension

    extension.load(ip, setup_for)


def unload_ipython_extension(ip: Any) -> None:
    """Remove them again."""
    from orchestrator.interface.shell import extension

    extension.unload(ip)


if __name__ == "__main__":
    sys.exit(startup.run_program(start))
