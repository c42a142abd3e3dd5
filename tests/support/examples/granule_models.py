"""Models of the granules job, trained in the test's own process."""

from __future__ import annotations

from typing import Any


def train_model(rows: Any, settings: Any, fold: int = 0) -> Any:
    """Train a model on some rows."""
    from granules import tasks
    from granules.forest_model import TARGETS

    trees: dict[str, list[list[Any]]] = {
        target: [tasks.fit_trees(rows, target, settings, settings.seeds(target, fold))] for target in TARGETS
    }
    return tasks.merge_model(trees)
