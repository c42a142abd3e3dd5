"""All command lines that are accepted, with what they call, and those that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.interface.cli import groups, parser
from orchestrator.interface.cli.commands import Argument, Command, bind, commands, select
from orchestrator.interface.verbs.registry import default_registry

COMMANDS = commands(default_registry(), "stratus")


def parsed(line: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the verb that a command line calls, with its positional and named arguments."""
    options = parser.parse(line.split(), COMMANDS, "stratus")
    command = next(item for item in COMMANDS if options.verb in (item.name, *item.aliases))
    verb = select(command, vars(options))
    positional, named, foreign = bind(command, verb, vars(options))
    assert foreign == []
    return verb.name, positional, {name: value for name, value in named.items() if value not in (False, "", 0, 0.0)}


ACCEPTED: list[tuple[str, str, list[Any], dict[str, Any]]] = [
    ("launch", "LaunchInstances", [], {}),
    ("launch -n 2 --yes", "LaunchInstances", [], {"n": 2, "yes": True}),
    ("launch -n2 -y", "LaunchInstances", [], {"n": 2, "yes": True}),
    ("status", "Status", [], {}),
    ("install", "InstallDeps", [], {}),
    ("install ml-0 ml-1", "InstallDeps", ["ml-0", "ml-1"], {}),
    ("terminate", "TerminateAll", [], {}),
    ("terminate --yes", "TerminateAll", [], {"yes": True}),
    ("terminate -y", "TerminateAll", [], {"yes": True}),
    ("stop", "StopAll", [], {}),
    ("start", "StartAll", [], {}),
    ("experiment --multi -n 4 -y", "RunExperiment", [], {"multi": True, "n": 4, "yes": True}),
    ("cost", "Cost", [], {}),
    ("extend 4", "Extend", [4.0], {}),
    ("extend 1.5", "Extend", [1.5], {}),
    ("recover", "Recover", [], {}),
    ("recover finish", "Recover", [], {"then": "finish"}),
    ("recover terminate", "Recover", [], {"then": "terminate"}),
    ("instances", "InstanceTypes", [], {}),
    ("instances --gpus 1 --vcpus 16 --memory 64", "InstanceTypes", [], {"gpus": 1, "vcpus": 16, "memory": 64.0}),
    ("instance-types --gpus 1", "InstanceTypes", [], {"gpus": 1}),
    ("instance-types --family g5 --max-price 1.5", "InstanceTypes", [], {"family": "g5", "max_price": 1.5}),
    (
        "break-even --price 900 --watts 300 --hours-per-day 2 --years 4 --usd-per-kwh 0.3 --instance-type g5.xlarge",
        "BreakEven",
        [],
        {
            "price": 900.0,
            "watts": 300.0,
            "hours_per_day": 2.0,
            "years": 4.0,
            "usd_per_kwh": 0.3,
            "instance_type": "g5.xlarge",
        },
    ),
    ("quota", "RequestLimitIncrease", [], {}),
    ("instance-role --delete -y", "InstanceRole", [], {"delete": True, "yes": True}),
    ("sagemaker-role --yes", "SageMakerRole", [], {"yes": True}),
    ("push-image folder --yes", "PushImage", [], {"job": "folder", "yes": True}),
    ("quota -n 4", "RequestLimitIncrease", [], {"n": 4}),
    ("access", "RefreshAccess", [], {}),
    ("idle 30", "IdleShutdown", [30], {}),
    ("idle 0", "IdleShutdown", [0], {}),
    ("run", "RunSingleVMComputing", [], {}),
    ("run --job j --host ml-1 --detach", "RunSingleVMComputing", [], {"job": "j", "host": "ml-1", "detach": True}),
    ("run --multi", "RunMultiVMComputing", [], {}),
    ("run --multi --detach --job j", "RunMultiVMComputing", [], {"job": "j", "detach": True}),
    ("run train.py", "RunSingleVMComputing", [], {"job": "train.py"}),
    ("run train.py --multi", "RunMultiVMComputing", [], {"job": "train.py"}),
    ("experiment train.py -n 2 -y", "RunExperiment", [], {"job": "train.py", "n": 2, "yes": True}),
    ("experiment --job train.py", "RunExperiment", [], {"job": "train.py"}),
    ("install --job train.py ml-0", "InstallDeps", ["ml-0"], {"job": "train.py"}),
    ("job init train.py", "Job", ["init"], {"script": "train.py"}),
    ("attach", "Attach", [], {}),
    ("attach k3", "Attach", [], {"run": "k3"}),
    ("runs", "Runs", [], {}),
    ("logs", "Logs", [], {}),
    ("logs k3 --host ml-1 -f", "Logs", [], {"run": "k3", "host": "ml-1", "follow": True}),
    ("logs --follow k3", "Logs", [], {"run": "k3", "follow": True}),
    ("join k3", "JoinJob", [], {"run": "k3"}),
    ("cancel k3", "CancelJob", [], {"run": "k3"}),
    ("killall", "CancelAllJobs", [], {}),
    ("cancel-all", "CancelAllJobs", [], {}),
    ("gpus", "Usage", [], {}),
    ("gpus ml-0", "Usage", ["ml-0"], {}),
    ("usage ml-0", "Usage", ["ml-0"], {}),
    ("exec nvidia-smi -L", "RunCommand", ["nvidia-smi", "-L"], {"timeout": 600.0}),
    ("exec -- df -h", "RunCommand", ["df", "-h"], {"timeout": 600.0}),
    ("exec --host ml-1 --timeout 5 -- ls --all", "RunCommand", ["ls", "--all"], {"host": "ml-1", "timeout": 5.0}),
    ("exec", "RunCommand", [], {"timeout": 600.0}),
    ("fetch", "FetchResults", [], {}),
    ("fetch k3", "FetchResults", [], {"run": "k3"}),
    ("ssh ml-0", "Ssh", ["ml-0"], {}),
    ("ssh ml-0 nvidia-smi -L", "Ssh", ["ml-0", "nvidia-smi", "-L"], {}),
    ("ssh ml-0 -- ls --local", "Ssh", ["ml-0", "ls", "--local"], {}),
    ("dashboard k3", "Dashboard", [], {"run": "k3"}),
    ("jupyter", "Jupyter", [], {}),
    ("jupyter ml-1", "Jupyter", [], {"host": "ml-1"}),
    ("jupyter a.ipynb --on ml-1 --detach", "Jupyter", [], {"host": "a.ipynb", "on": "ml-1", "detach": True}),
    ("jupyter --kernel job", "Jupyter", [], {"kernel": "job"}),
    ("jupyter --stop ml-1", "StopJupyter", [], {"host": "ml-1"}),
    ("bake", "BakeImage", [], {}),
    ("check-gpus", "CheckGpus", [], {"seconds": 20}),
    ("check-gpus ml-1 --all-reduce --seconds 5", "CheckGpus", ["ml-1"], {"all_reduce": True, "seconds": 5}),
    ("replace ml-1 -y", "Replace", ["ml-1"], {"yes": True}),
    ("bake ml-1 --remove-runs --yes", "BakeImage", [], {"host": "ml-1", "remove_runs": True, "yes": True}),
    ("images", "Images", [], {}),
    ("delete-images ami-1", "DeleteImages", [], {"image": "ami-1"}),
    ("delete-images --stale", "DeleteImages", [], {"stale": True}),
    ("upload data s3://b/data", "Upload", ["data", "s3://b/data"], {}),
    ("upload data s3://b/data --limit 2.5", "Upload", ["data", "s3://b/data"], {"limit": 2.5}),
    ("download s3://b/data", "Download", ["s3://b/data"], {"path": "."}),
    ("download s3://b/data here --public", "Download", ["s3://b/data"], {"path": "here", "public": True}),
    ("sync data s3://b/data", "Sync", ["data", "s3://b/data"], {}),
    ("list-data s3://b", "ListData", ["s3://b"], {}),
    ("send a.csv ml-0", "Send", ["a.csv"], {"host": "ml-0"}),
    ("send a.csv ml-0 work/a.csv", "Send", ["a.csv"], {"host": "ml-0", "remote": "work/a.csv"}),
    ("waterfall k3 --svg time.svg", "Waterfall", [], {"run": "k3", "svg": "time.svg"}),
    ("receive work/a here ml-0", "Receive", ["work/a"], {"path": "here", "host": "ml-0"}),
    ("abort-uploads", "AbortUploads", [], {}),
    ("tensorboard", "TensorBoard", [], {}),
    ("tensorboard logs --run k3 --host ml-1", "TensorBoard", [], {"logs": "logs", "run": "k3", "host": "ml-1"}),
    ("tensorboard --stop --host ml-1", "StopTensorBoard", [], {"host": "ml-1"}),
    ("screen k3 --host ml-1", "Screen", [], {"run": "k3", "host": "ml-1"}),
    ("tunnel ml-0 6006", "Tunnel", ["ml-0", 6006], {}),
    ("config", "Config", [], {"what": "check"}),
    ("config check", "Config", [], {"what": "check"}),
    ("config init", "Config", [], {"what": "init"}),
    ("config show", "Config", [], {"what": "show"}),
    ("config template", "Config", [], {"what": "template"}),
    ("config reference", "Config", [], {"what": "reference"}),
]


@pytest.mark.parametrize(("line", "verb", "positional", "named"), ACCEPTED, ids=lambda value: str(value))
def test_a_command_line_calls_its_verb(line: str, verb: str, positional: list[Any], named: dict[str, Any]) -> None:
    assert parsed(line) == (verb, positional, named)


@pytest.mark.parametrize("output", ["--output json {}", "{} --output json", "{} --output=json", "--output=json {}"])
def test_the_output_is_chosen_before_or_after_the_verb(output: str) -> None:
    assert parser.parse(output.format("status").split(), COMMANDS, "stratus").output == "json"


def test_options_before_the_verb() -> None:
    options = parser.parse(["--local", "--config", "x.ini", "-c", "Status()"], COMMANDS, "stratus")

    assert (options.local, str(options.config), options.statements, options.verb) == (True, "x.ini", "Status()", None)
    assert parser.parse(["completion", "bash"], COMMANDS, "stratus").shell == "bash"
    assert parser.parse(["shell"], COMMANDS, "stratus").verb == "shell"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("launch -n 0", "'0' is not a number of VMs: a whole number, 1 or more"),
        ("launch -n x", "'x' is not a number of VMs"),
        ("launch ml-0", "unrecognized arguments: ml-0"),
        ("launch --y", "unrecognized arguments: --y"),
        ("extend", "the following arguments are required: HOURS"),
        ("extend -1", "'-1' is not a number of 0 or more, such as 4 or 1.5"),
        ("extend x", "'x' is not a number of 0 or more, such as 4 or 1.5"),
        ("idle 1.5", "'1.5' is not a whole number of 0 or more, such as 30"),
        ("idle", "the following arguments are required: MINUTES"),
        ("recover x", "invalid choice: 'x'"),
        ("config x", "invalid choice: 'x'"),
        ("completion tcsh", "invalid choice: 'tcsh'"),
        ("ssh", "the following arguments are required: HOST"),
        ("status --config x", "--config goes before the verb"),
        ("status --local", "--local goes before the verb"),
        ("--output xml status", "invalid choice: 'xml'"),
        ("statsu", "statsu: no such verb. Did you mean status?"),
        ("LaunchInstances", "LaunchInstances: no such verb. Did you mean launch?"),
        ("RunMultiVMComputing", "Did you mean run --multi?"),
        ("sagemaker", "the following arguments are required: VERB"),
        ("sagemaker trian", "invalid choice: 'trian'"),
    ],
)
def test_a_command_line_that_is_wrong_is_refused(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        parser.parse(line.split(), COMMANDS, "stratus")


@pytest.mark.parametrize(("line", "foreign"), [("run --multi --host ml-0", ["--host"]), ("run --multi", [])])
def test_an_option_of_another_verb_of_the_command_is_found(line: str, foreign: list[str]) -> None:
    options = vars(parser.parse(line.split(), COMMANDS, "stratus"))
    command = next(item for item in COMMANDS if item.name == "run")

    assert bind(command, select(command, options), options)[2] == foreign


@pytest.mark.parametrize(
    ("argv", "at"),
    [([], 0), (["--local", "status"], 1), (["--config", "f", "--local", "run", "--local"], 3), (["-c", "x"], 2)],
)
def test_the_position_of_the_verb(argv: list[str], at: int) -> None:
    assert parser.verb_at(argv) == at


MEMBERS = groups.members(default_registry())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sagemaker train -y", "train-on-sagemaker -y"),
        ("--config f sagemaker role --data s3://b/p", "--config f sagemaker-role --data s3://b/p"),
        *((f"sagemaker {member}", command) for member, command in MEMBERS.items()),
        ("sagemaker", "sagemaker"),
        ("sagemaker --help", "sagemaker --help"),
        ("sagemaker-role", "sagemaker-role"),
        ("send sagemaker train", "send sagemaker train"),
        ("status", "status"),
    ],
)
def test_a_member_of_the_group_stands_for_its_command(line: str, expected: str) -> None:
    argv = line.split()

    assert groups.expanded(argv, parser.verb_at(argv), default_registry(), "stratus") == expected.split()


def test_the_group_has_every_verb_on_sagemaker_and_an_option_comes_after_its_member() -> None:
    assert {"train", "tune", "deploy", "predict", "role", "push-image"} <= MEMBERS.keys()
    with pytest.raises(UsageError, match="--count goes after the verb") as caught:
        groups.expanded(["sagemaker", "--count", "2", "train"], 0, default_registry(), "stratus")
    assert str(caught.value.fix) == "stratus sagemaker train --count 2"


def texts_of(command: Command) -> list[Argument]:
    """Return the arguments of a command that take a text."""
    return [argument for argument in command.arguments if not (argument.is_flag or argument.parse or argument.choices)]


TEXTS = [(command, argument) for command in COMMANDS for argument in texts_of(command)]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(("command", "argument"), TEXTS, ids=lambda item: item.name)
def test_an_argument_that_is_given_is_not_empty(command: Command, argument: Argument, empty: str) -> None:
    required = [other.choices[0] for other in command.arguments if other.choices and not other.flags]
    given = [f"{argument.flags[-1]}={empty}"] if argument.flags else [empty]

    with pytest.raises(UsageError, match=" is empty: give it a value") as error:
        parser.parse([command.name, *required, *given], COMMANDS, "stratus")
    assert str(error.value.fix) == f"stratus {command.name} --help"


def test_a_word_of_a_command_for_a_vm_may_be_empty() -> None:
    options = parser.parse(["exec", "printf", "%s", ""], COMMANDS, "stratus")

    assert [value for value in vars(options).values() if isinstance(value, list)] == [["printf", "%s", ""]]
