"""Records are shown and documented by their class, never by its name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from orchestrator.interface.render import registry
from orchestrator.interface.verbs.registry import default_registry
from tests.support.interface.example_machines import machine, status
from tests.support.interface.example_records import answers, example
from tests.support.interface.rendered import NOW, rendered, texts

ANSWERS = sorted({record for verb in default_registry() for record in answers(verb.function)}, key=str)


@pytest.mark.parametrize("record_class", ANSWERS, ids=lambda record_class: record_class.__name__)
def test_every_record_that_a_verb_answers_with_has_a_text(record_class: type) -> None:
    record = example(record_class)

    assert registry.has_lines(record) or registry.rows.dispatch(record_class) is not registry.rows.dispatch(object)


def test_the_functions_of_every_record_are_found_without_importing_those_of_all() -> None:
    registry.load()
    registered = [
        (record_class, function.__module__)
        for by_class in (registry.lines, registry.rows, registry.document)
        for record_class, function in by_class.registry.items()
        if record_class.__module__.startswith("orchestrator.")
    ]

    assert len(registered) > 100
    for record_class, module in registered:
        if module != registry.__name__:
            assert module in registry.modules_for(record_class), record_class


def test_a_renamed_record_is_no_other_record() -> None:
    ClusterStatus = type("ClusterStatus", (), {})

    registry.load()
    assert not registry.has_lines(ClusterStatus())
    with pytest.raises(TypeError, match="no text is registered for ClusterStatus"):
        registry.lines(ClusterStatus(), NOW)


def test_several_records_without_a_table_are_shown_one_after_another() -> None:
    one = status(machine("ml-0"))

    assert rendered((one, status())) == rendered(one) + rendered(status())
    assert texts(registry.lines([], NOW)) == []


def test_a_record_of_another_package_can_be_registered() -> None:
    @dataclass
    class Greeting:
        name: str

    registry.lines.register(Greeting)(lambda greeting, now: [f"  hello {greeting.name}"])

    assert rendered(Greeting("Ada")) == ["  hello Ada"]
