"""Rules of the architecture: layers, one caller of AWS, one clock, composition, sizes; see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.support import source_tree
from tests.support.paths import PACKAGE, ROOT

LAYERS = (
    "core",
    "crypto config ssh",
    "aws hosts",
    "cluster jobs",
    "install",
    "services",
    "experiment",
    "session",
    "interface",
)
"""Rooms of orchestrator/ from the lowest layer to the highest. Rooms of one layer import nothing of each other."""

ALLOWED = {("ssh", "config"), ("ssh", "crypto")}
"""Imports within a layer that are allowed nonetheless: a key file is a setting and needs cryptography to be read."""

STRANGERS = (("jobs", "aws"), ("jobs", "cluster"), ("install", "aws"), ("install", "cluster"), ("hosts", "aws"))
"""Pairs of rooms in which the first imports nothing of the second, though its layer is higher."""

LIBRARIES = {
    "boto3": r"aws\..*",
    "botocore": r"aws\..*",
    "fabric": r"ssh\..*",
    "distributed": r"interface\.shell\.dask_client",
    "paramiko": r"ssh\..*",
    "invoke": r"ssh\..*",
    "cryptography": r"crypto\..*|ssh\.connect",
    "IPython": r"interface\.shell\..*",
    "prompt_toolkit": r"interface\.shell\..*",
    "pygments": r"interface\.shell\..*",
    "traitlets": r"interface\.shell\..*",
    "numpy": r"services\.hosting\.payloads",
    "pandas": r"interface\.shell\..*",
    "rich": r"interface\.progress",
    "platformdirs": r"session",
}
"""Library -> the modules of orchestrator/ that import it."""

MAX_MODULES = 17
MAX_LINES = 400
CLOCK_CALLS = re.compile(
    r"\btime\.(time|sleep|monotonic|perf_counter|time_ns)\b|\bdatetime\.(now|utcnow)\b|\bdate\.today\b"
)
CLOCKS = re.compile(r"orchestrator\.(core\.clock|ssh(\..*)?)")
COMPOSITION_ROOTS = re.compile(r"orchestrator\.(session|core\.clock|interface\.(cli|shell)\..*|interface\.workspace)")

MODULES = source_tree.modules("orchestrator")
LOCALCLOUD = source_tree.modules("localcloud")
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms.split()}


def room(module: str) -> str:
    """Return the room of a module of orchestrator/: the package below it, or the module itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def local_name(module: str) -> str:
    return module.removeprefix("orchestrator.")


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) not in ("", "__main__")])
def test_a_module_imports_from_layers_below_its_own(module: str) -> None:
    own = LAYER[room(module)]
    rooms = {room(other) for other in source_tree.imports(MODULES[module], MODULES)} - {room(module), ""}
    allowed = {other for other in rooms if LAYER[other] < own or (room(module), other) in ALLOWED}
    assert not rooms - allowed
    assert not [other for other in rooms if (room(module), other) in STRANGERS]


def test_services_are_strangers_to_each_other() -> None:
    services = {name: path for name, path in MODULES.items() if name.startswith("orchestrator.services.")}
    assert len(services) > 3
    for name, path in services.items():
        # A package is one service.
        strangers = {other: file for other, file in services.items() if other.split(".")[:3] != name.split(".")[:3]}
        assert not source_tree.imports(path, strangers)
    jobs = {room(name) for name in source_tree.imports(services["orchestrator.services.jobs"], MODULES)}
    assert not jobs & {"aws", "cluster"}


@pytest.mark.parametrize("package", ["orchestrator", "localcloud", "examples", "scripts", "tests"])
def test_no_import_goes_in_a_circle(package: str) -> None:
    assert source_tree.cycles(source_tree.import_graph(package)) == []


def test_packages_of_the_embedded_cloud_depend_on_each_other_in_one_direction() -> None:
    def package(module: str) -> str:
        return ".".join(module.split(".")[:2])

    graph: dict[str, set[str]] = {}
    for module, path in LOCALCLOUD.items():
        others = {package(other) for other in source_tree.imports(path, LOCALCLOUD)}
        graph.setdefault(package(module), set()).update(others - {package(module)})
    assert len(graph["localcloud.ec2"]) > 2
    assert source_tree.cycles(graph) == []


def test_the_toolkit_and_the_embedded_cloud_meet_in_one_file() -> None:
    for path in LOCALCLOUD.values():
        assert not {name for name in source_tree.imported_names(path) if name.startswith("orchestrator")}, path
    for path in MODULES.values():
        assert not {name for name in source_tree.imported_names(path) if name.startswith("localcloud")}, path
    files = [*ROOT.glob("*.py"), *(ROOT / "examples").rglob("*.py")]
    both = [
        path.name
        for path in files
        if {"orchestrator", "localcloud"} <= {name.partition(".")[0] for name in source_tree.imported_names(path)}
    ]
    assert both == ["run_interface.py"]


@pytest.mark.parametrize(
    "path", sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".sh")), ids=lambda path: path.name
)
def test_the_toolkit_does_not_know_which_cloud_it_talks_to(path: Path) -> None:
    assert not re.findall(r"(?i)\bmoto\w*|localcloud|\b127\.[0-9]|\blocalhost\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_each_library_is_imported_by_its_own_room_only_and_when_it_is_needed(module: str) -> None:
    def libraries(names: set[str]) -> set[str]:
        tops = {name.partition(".")[0] for name in names}
        return tops - sys.stdlib_module_names - {"orchestrator", "__future__"}

    used = libraries(source_tree.imported_names(MODULES[module], types_too=False))
    assert not {name for name in used if not re.fullmatch(LIBRARIES.get(name, "(?!)"), local_name(module))}
    top_level = [node for node in source_tree.parse(MODULES[module]).body if not isinstance(node, ast.If)]
    assert not libraries({name for node in top_level for name in source_tree.names_in(node)})


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) != "aws"])
def test_aws_is_called_in_its_room_only(module: str) -> None:
    attributes = [node for node in ast.walk(source_tree.parse(MODULES[module])) if isinstance(node, ast.Attribute)]
    assert not [ast.unparse(node) for node in attributes if node.attr in ("ec2_once", "service")]
    assert not [ast.unparse(node) for node in attributes if node.attr == "ec2" and "clients" in ast.unparse(node.value)]


@pytest.mark.parametrize("module", [name for name in MODULES if not CLOCKS.fullmatch(name)])
def test_time_comes_from_the_clock_that_was_handed_in(module: str) -> None:
    tree = source_tree.parse(MODULES[module])
    assert not [name for node in ast.walk(tree) for name in _dotted(node) if CLOCK_CALLS.search(name)]
    if not COMPOSITION_ROOTS.fullmatch(module):
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "REAL_CLOCK"]


def _dotted(node: ast.AST) -> list[str]:
    return [ast.unparse(node)] if isinstance(node, ast.Attribute) else []


def test_no_clock_has_a_default() -> None:
    for module, path in MODULES.items():
        for function in source_tree.functions(source_tree.parse(path)):
            defaults = [*function.args.defaults, *(default for default in function.args.kw_defaults if default)]
            assert "REAL_CLOCK" not in map(ast.unparse, defaults), f"{module}.{function.name}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_inherited_but_protocols_errors_and_library_interfaces(module: str) -> None:
    for node in ast.walk(source_tree.parse(MODULES[module])):
        if isinstance(node, ast.ClassDef):
            bases = {_class_name(base) for base in node.bases}
            inherited = {base for base in bases if base in _own_classes(module) and base not in _errors()}
            assert not inherited, f"{node.name} inherits {inherited}"
    source = MODULES[module].read_text(encoding="utf-8")
    assert "NotImplementedError" not in source
    assert "self.__dict__" not in source


def _own_classes(module: str) -> set[str]:
    """Return the classes of ours that a module defines or imports."""
    names = {name.rpartition(".")[2] for name in source_tree.imported_names(MODULES[module]) if "orchestrator." in name}
    return (names & _classes().keys()) | {
        node.name for node in ast.walk(source_tree.parse(MODULES[module])) if isinstance(node, ast.ClassDef)
    }


@cache
def _classes() -> dict[str, set[str]]:
    """Return the classes of orchestrator/, with the names of their bases."""
    trees = [source_tree.parse(path) for path in MODULES.values()]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {node.name: {_class_name(base) for base in node.bases} for node in nodes}


@cache
def _errors() -> set[str]:
    """Return our exceptions: classes with an exception among their bases, all the way up."""
    errors = {"Exception", "KeyboardInterrupt", "BaseException"}
    for _ in range(5):  # levels of the exception tree
        errors |= {name for name, bases in _classes().items() if bases & errors}
    return errors


def _class_name(base: ast.expr) -> str:
    return ast.unparse(base).partition("[")[0].rpartition(".")[2]


def test_no_component_of_a_cluster_receives_its_owner() -> None:
    owners = {"Session", "ClusterService", "JobService", "HostService", "AccountService"}
    for module, path in MODULES.items():
        if room(module) in ("core", "ssh", "aws", "hosts", "cluster", "jobs", "install", "services"):
            for function in source_tree.functions(source_tree.parse(path)):
                for arg in [*function.args.args, *function.args.kwonlyargs]:
                    annotation = ast.unparse(arg.annotation) if arg.annotation else ""
                    words = set(re.findall(r"(?<!botocore\.session\.)\b\w+", annotation))
                    assert not owners & words, f"{module}.{function.name}"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "interface"])
def test_records_are_told_apart_by_type_never_by_the_name_of_their_class(module: str) -> None:
    for node in ast.walk(source_tree.parse(MODULES[module])):
        parts = [node.slice] if isinstance(node, ast.Subscript) else [node] if isinstance(node, ast.Compare) else []
        assert not [ast.unparse(part) for part in parts if re.search(r"\w\)?\.__name__", ast.unparse(part))]


@pytest.mark.parametrize("module", [name for name in MODULES if local_name(name) != "interface.console"])
def test_only_the_console_prints_and_asks(module: str) -> None:
    calls = [
        ast.unparse(node.func) for node in ast.walk(source_tree.parse(MODULES[module])) if isinstance(node, ast.Call)
    ]
    # Ctrl-C before there is a console.
    ends_process = {"interface.cli.startup": {"os._exit"}}.get(local_name(module), set())
    allowed = {"sys.exit"} if room(module) == "__main__" else ends_process
    forbidden = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
    assert not (forbidden - allowed) & set(calls)


@pytest.mark.parametrize("folder", ["orchestrator", "localcloud", "examples", "scripts", "tests"])
def test_folders_and_modules_stay_small(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if not {"data", "outputs"} & set(path.parts)]
    sizes = Counter(path.parent for path in paths if path.name not in ("__init__.py", "__main__.py"))
    assert {str(path): count for path, count in sizes.items() if count > MAX_MODULES} == {}
    lengths = {str(path): path.read_text(encoding="utf-8").count("\n") for path in paths}
    limit = MAX_LINES + 50 if folder == "tests" else MAX_LINES
    assert {path: length for path, length in lengths.items() if length > limit} == {}


def test_no_test_imports_a_test() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        names = source_tree.imported_names(path)
        assert not {name for name in names if re.search(r"\btests\.(.*\.)?(test_\w+|conftest)\b", name)}, path


@pytest.mark.parametrize("module", MODULES)
def test_no_host_key_is_ever_trusted_on_first_use(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    assert not re.search(r"AutoAddPolicy|WarningPolicy|StrictHostKeyChecking[ =\"']+(no|accept-new|off)", source)
