"""Attribute that is created on first use, so that what a command does not need is not imported for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class CreatedOnce(Generic[T]):
    """Decorator of a method whose result becomes the attribute of that name, the first time that it is read.

    As :func:`functools.cached_property`, but one thread at a time creates it, which that one leaves out from
    Python 3.12 on: the prompt's poller and a verb may read the same attribute at once.
    """

    # One for all: an attribute may need others, of other objects, too.
    _lock = threading.RLock()

    def __init__(self, create: Callable[[Any], T]) -> None:
        self._create = create
        self.__doc__ = create.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> CreatedOnce[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | CreatedOnce[T]:
        if instance is None:
            return self
        with self._lock:
            # Once it is there, Python reads it without asking this object.
            if self._name not in (values := vars(instance)):
                values[self._name] = self._create(instance)
            return values[self._name]  # type: ignore[no-any-return]
