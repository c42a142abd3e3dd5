"""Start Stratus: the shell, or one verb of it.

    python run_interface.py                       the shell, on the cloud that config/config.ini names
    python run_interface.py --local               the shell, on the rehearsal cloud of this computer
    python run_interface.py [--local] VERB        one verb; --help lists them
    python run_interface.py -c 'LaunchInstances(2); InstallDeps()'
    python run_interface.py rehearse scenario.ini     a bad day, played against your own config

The composition root: the only file that knows both the toolkit and the rehearsal cloud.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.interface.cli import invocation
from orchestrator.interface.cli import main as cli_main

# What could lead a rehearsal to a real account, whatever the shell it is started from has set.
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
    """Carry out a command line and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    program = "stratus" if Path(sys.argv[0]).name == "stratus" else "python run_interface.py"
    if argv[cli_main.verb_at(argv) :][:1] == ["rehearse"]:
        return bad_day(argv, program)
    if "--local" not in argv[: cli_main.verb_at(argv)]:
        return cli_main.main(argv, invocation.Setup(program))
    setup = invocation.Setup(f"{program} --local", config=local_config(), local=True, prepare=rehearse)
    return cli_main.main(argv, setup)


def rehearse() -> None:
    """Start the rehearsal cloud, unless it is up, and point this process at it and at nothing else."""
    import localcloud

    try:
        environment = localcloud.up(tell=lambda line: print(line, file=sys.stderr, flush=True))
    except localcloud.LocalCloudError as error:
        raise invocation.NoCloud(str(error)) from error
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    os.environ.update(environment)


def bad_day(argv: Sequence[str], program: str) -> int:
    """Play a scenario against a config, on a cloud of its own."""
    from localcloud import LocalCloudError, rehearse

    at = cli_main.verb_at(argv)
    named = [argv[number + 1] for number, word in enumerate(argv[:at]) if word == "--config"]
    config = Path(named[-1]) if named else local_config() if "--local" in argv[:at] else Path("config/config.ini")
    for name in REAL_ACCOUNT:
        os.environ.pop(name, None)
    code = 0

    def run(words: Sequence[str]) -> int:
        nonlocal code
        code = cli_main.main(words, invocation.Setup(program))
        return code

    try:
        for line in rehearse.play(rehearse.parse(argv[at + 1 :], config), run):
            print(line)
    except LocalCloudError as error:
        print(error, file=sys.stderr)
        return 2
    return code


def local_config() -> Path:
    """Return the rehearsal's config: the working directory's, else the one that came with this program."""
    places = (Path("config"), Path(__file__).parent / "config", Path(sys.prefix) / "share/stratus/config")
    return next((place / "local.ini" for place in places if (place / "local.ini").exists()), places[0] / "local.ini")


if __name__ == "__main__":
    sys.exit(main())
