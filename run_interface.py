"""Start Stratus: the shell, or one verb of it.

    python run_interface.py                       the shell, on the cloud that config/config.ini names
    python run_interface.py --local               the shell, on this computer's embedded cloud
    python run_interface.py [--local] VERB        one verb; --help lists them
    python run_interface.py -c 'LaunchInstances(2); InstallDeps()'
    python run_interface.py rehearse scenario.ini     an experiment with your config and injected faults

The composition root: the only file that imports both the toolkit and the embedded cloud.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.interface.cli import invocation
from orchestrator.interface.cli import main as cli_main
from orchestrator.interface.cli import parser as cli_parser

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    program = "stratus" if Path(sys.argv[0]).name == "stratus" else "python run_interface.py"
    if argv[cli_parser.verb_at(argv) :][:1] == ["rehearse"]:
        return rehearse(argv, program)
    if "--local" not in argv[: cli_parser.verb_at(argv)]:
        return cli_main.main(argv, invocation.Setup(program))
    setup = invocation.Setup(f"{program} --local", config=local_config(), local=True, prepare=use_embedded_cloud)
    return cli_main.main(argv, setup)


def use_embedded_cloud() -> None:
    """Start the embedded cloud unless it is running, and point this process at it and at no account."""
    import localcloud

    try:
        environment = localcloud.up(tell=lambda line: print(line, file=sys.stderr, flush=True))
    except localcloud.LocalCloudError as error:
        raise invocation.NoCloud(str(error)) from error
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    os.environ.update(environment)


def rehearse(argv: Sequence[str], program: str) -> int:
    """Run an experiment with injected faults, on an embedded cloud of its own."""
    from localcloud import LocalCloudError
    from localcloud import rehearse as rehearsal

    at = cli_parser.verb_at(argv)
    config_args = [argv[index + 1] for index, word in enumerate(argv[:at]) if word == "--config"]
    default = local_config() if "--local" in argv[:at] else Path("config/config.ini")
    config = Path(config_args[-1]) if config_args else default
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    code = 0

    def run(arguments: Sequence[str]) -> int:
        nonlocal code
        code = cli_main.main(arguments, invocation.Setup(program))
        return code

    try:
        for line in rehearsal.play(rehearsal.parse(argv[at + 1 :], config), run):
            print(line)
    except LocalCloudError as error:
        print(error, file=sys.stderr)
        return 2
    return code


def local_config() -> Path:
    """Return the config for the embedded cloud: the working directory's, else the installed one."""
    places = (Path("config"), Path(__file__).parent / "config", Path(sys.prefix) / "share/stratus/config")
    return next((place / "local.ini" for place in places if (place / "local.ini").exists()), places[0] / "local.ini")


if __name__ == "__main__":
    sys.exit(main())
