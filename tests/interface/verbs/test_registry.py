"""Verbs are declared once; names, commands and hints are derived from the declaration."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.cli import completion, invocation, main
from orchestrator.interface.cli.commands import commands
from orchestrator.interface.console import Console
from orchestrator.interface.render import registry as render_registry
from orchestrator.interface.shell import completer, prompt_verbs
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import show
from orchestrator.interface.verbs.parameters import VerbParameter, whole_number
from orchestrator.interface.verbs.registry import VerbRegistry, default_registry
from orchestrator.interface.workspace import Workspace
from tests.support.paths import ROOT

REGISTRY = default_registry()

# The whole of a new verb: its record, its text, its document, and one declaration.


@dataclass(frozen=True)
class Greeting:
    name: str
    times: int


@render_registry.lines.register(Greeting)
def _(greeting: Greeting, _now: object) -> list[Text]:
    return [f"  Hello {greeting.name}!"] * greeting.times


@render_registry.document.register(Greeting)
def _(greeting: Greeting) -> dict[str, object]:
    return {"name": greeting.name, "times": greeting.times}


GROUP = VerbGroup("Greetings")
Times = Annotated[int, VerbParameter(metavar="N", parse=whole_number)]
Name = Annotated[str, VerbParameter(metavar="NAME", completes="host")]


@GROUP.verb(
    "GreetHost", "greet", aliases=("Hello",), command_aliases=("hello",), examples=(NextStep("GreetHost", "ml-0"),)
)
def greet(workspace: Workspace, name: Name, *, times: Times = 1) -> Greeting:
    """Greet a host.

    name   which host.
    times  how often.

    Costs  nothing.
    """
    return show(workspace, Greeting(name, times))


WITH_GREETING = VerbRegistry([*REGISTRY.groups, GROUP])


def on_the_command_line(*argv: str) -> tuple[int, str]:
    with redirect_stdout(StringIO()) as out:
        code = main.main(argv, invocation.Setup(registry=WITH_GREETING))
    return code, out.getvalue()


def test_a_verb_is_added_by_one_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(None, Console(), REAL_CLOCK, home=Path("unused"))
    names = prompt_verbs.namespace(workspace, WITH_GREETING)

    # at the prompt, by its name and its alias, with its arguments checked
    assert names["GreetHost"]("ml-0", times=2) == names["Hello"]("ml-0", times=2) == Greeting("ml-0", 2)
    assert capsys.readouterr().out == "  Hello ml-0!\n" * 4
    # in the parser, and rendered by the class of its record
    assert on_the_command_line("greet", "ml-0") == on_the_command_line("hello", "ml-0") == (0, "  Hello ml-0!\n")
    assert on_the_command_line("greet")[0] == 2
    # in --output json
    code, out = on_the_command_line("--output", "json", "greet", "ml-0", "--times", "3")
    assert (code, json.loads(out)) == (0, {"name": "ml-0", "times": 3})
    # in help, of the prompt and of the command line
    names["Help"]()
    assert "  GreetHost()             Greet a host\n" in capsys.readouterr().out
    assert (names["GreetHost"].__doc__ or "").startswith("Greet a host.\n\nname   which host.\ntimes  how often.")
    command = next(command for command in commands(WITH_GREETING, "stratus") if command.name == "greet")
    assert (command.help, command.options) == ("greet a host", {"--times": "how often"})
    assert command.epilog == "Costs    nothing.\nExample  stratus greet ml-0"
    # in completion, of the prompt and of the shells
    parameter, typed = completer.completed_parameter(WITH_GREETING, 'GreetHost("ml-') or (None, "")
    assert (parameter and parameter.completes, typed) == ("host", "ml-")
    assert "greet|hello) words='-h --help --output --times' ;;" in completion.script("bash", [command])
    # in the manual, and as a hint
    assert "### GreetHost\n\n`GreetHost(name, *, times=1)` is `stratus greet`." in verb_help.manual(WITH_GREETING)
    assert WITH_GREETING.as_command(NextStep("Hello", "ml-0", times=2), "stratus") == "stratus greet --times 2 ml-0"


def test_names_commands_and_aliases_are_unique() -> None:
    names = [name for verb in REGISTRY for name in (verb.name, *verb.aliases)]
    words = [f"{verb.command} {verb.flag}" for verb in REGISTRY] + [
        alias for verb in REGISTRY for alias in verb.command_aliases
    ]

    assert len(names) == len(set(names))
    assert len(words) == len(set(words))


def test_the_names_that_users_know_are_there() -> None:
    fixed = "LaunchInstances InstallDeps RunSingleVMComputing RunMultiVMComputing FetchResults TerminateAll"
    others = "Status CheckStatus StopAll StartAll RunExperiment Attach Logs Runs CancelJob Ssh Dashboard Cost Recover"
    old = "JoinJob KillAll Gpus Run Extend IdleShutdown Instances RequestLimitIncrease RefreshAccess Config"

    assert [verb.name for verb in REGISTRY.steps] == fixed.split()
    assert set(f"{fixed} {others} {old}".split()) <= set(REGISTRY.by_name)


@pytest.mark.parametrize("verb", list(REGISTRY), ids=lambda verb: verb.name)
def test_every_parameter_is_described_and_every_summary_fits_a_line_of_help(verb: Any) -> None:
    assert {parameter.name for parameter in verb.parameters} == set(verb.docs.parameters)
    assert len(verb.docs.summary) <= 54
    assert verb.examples
    # A description that goes on in a second line is one description.
    assert not [line for line in verb.docs.prose.splitlines() if line.startswith(" " * 5)]


def test_every_type_of_a_parameter_can_be_checked() -> None:
    types = [type_ for verb in default_registry() for parameter in verb.parameters for type_ in parameter.types]

    assert types
    # typing.Any is a class, too, but no value is an instance of it.
    assert not any(isinstance(object(), (*types, Path)) for type_ in types if type_ is not object)


@pytest.mark.parametrize(
    ("step", "command"),
    [
        (NextStep("InstallDeps"), "stratus install"),
        (NextStep("InstallDeps", "ml-0", "ml-1"), "stratus install ml-0 ml-1"),
        (NextStep("Attach", "k3"), "stratus attach k3"),
        (NextStep("RunMultiVMComputing"), "stratus run --multi"),
        (NextStep("LaunchInstances", 2, yes=True), "stratus launch -n 2 --yes"),
        (NextStep("CheckStatus"), "stratus status"),
        (NextStep("Recover", "finish"), "stratus recover finish"),
        (NextStep("Config", "check"), "stratus config check"),
        (NextStep("InstanceTypes", gpus=1), "stratus instance-types --gpus 1"),
        (NextStep("RunCommand", "df -h /", host="ml-1"), "stratus exec --host ml-1 'df -h /'"),
        (NextStep("Ssh", "ml-0", "nvidia-smi", "-L"), "stratus ssh ml-0 nvidia-smi -L"),
        (NextStep("NoSuchVerb", 1), "NoSuchVerb(1)"),
    ],
)
def test_a_hint_becomes_a_command(step: NextStep, command: str) -> None:
    assert REGISTRY.as_command(step, "stratus") == command


def test_a_command_keeps_the_options_that_the_program_was_started_with() -> None:
    program = "python run_interface.py --local"

    assert REGISTRY.as_command(NextStep("Logs", "k3"), program) == "python run_interface.py --local logs k3"


def hints_in_the_code() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NextStep":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


@pytest.mark.parametrize(("place", "call"), [pytest.param(*hint, id=hint[0]) for hint in hints_in_the_code()])
def test_every_hint_names_a_verb_and_fits_its_signature(place: str, call: ast.Call) -> None:
    name = call.args[0]
    if not isinstance(name, ast.Constant):
        return  # worded for a verb that is handed in
    verb_name = str(name.value)
    verb = REGISTRY.find(verb_name)
    if verb_name == "Help":
        return  # of the prompt only
    assert verb is not None, f"{place}: {verb_name} is no verb"
    arguments = [argument for argument in call.args[1:] if not isinstance(argument, ast.Starred)]
    verb.signature.bind_partial(*arguments, **{keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})


# Texts that speak of both forms, that are documentation read in a file, or that a notebook on a VM shows.
SPEAKS_OF_VERBS = (
    *("config/", "interface/cli/parser.py", "interface/verbs/help.py", "ssh/user_config.py"),
    "remote/notebooks/host_client.py",
)


def test_no_text_names_a_verb_other_than_as_a_hint() -> None:
    """A call of a verb in a text would be read as Python on the command line."""
    commands = "|".join(verb.command for verb in REGISTRY)
    spoken = re.compile(rf"\b({'|'.join(REGISTRY.by_name)})\(|\bstratus ({commands})\b")
    package = ROOT / "orchestrator"
    texts = [
        f"{path.relative_to(package)}:{node.lineno}: {node.value.strip()[:60]}"
        for path in sorted(package.rglob("*.py"))
        for node in texts_of(ast.parse(path.read_text()))
        if spoken.search(node.value)
    ]

    assert [text for text in texts if not text.startswith(SPEAKS_OF_VERBS)] == []


def texts_of(tree: ast.AST) -> Iterator[Any]:
    """Yield string constants that may reach the screen: all but docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | bare:
            yield node
