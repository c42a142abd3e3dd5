"""Check of answers of AWS: a field that is missing, or of another type than documented, is one error that names it.

Code reads fields as AWS documents them; whether they are there is checked in this module only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from botocore.model import Shape

_TYPES: Mapping[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "boolean": (bool,),
    "timestamp": (datetime,),
}
"""Type of a shape in botocore's service descriptions -> types of its values; others are not checked."""


class UnexpectedAnswer(StratusError):
    """AWS answered, and the answer lacks a field that it must have, or has a value of another type there."""

    json_name = "UnexpectedAnswer"

    def __init__(self, action: str, problem: str) -> None:
        fix = "repeat the command; with a proxy or [aws] endpoint_url in between, ask there"
        super().__init__(f"AWS's answer to {action} cannot be used: {problem}", fix=fix)


class _Fields(dict[str, Any]):
    """Fields of a structure.

    :param unusable: fields with a value of another type -> the error. It is raised when one is read: a service may
        change fields that Stratus does not use.
    """

    def __init__(
        self, fields: Mapping[str, Any], unusable: Mapping[str, UnexpectedAnswer], action: str, path: str
    ) -> None:
        super().__init__(fields)
        self._action, self._path, self._unusable = action, path, unusable

    def __missing__(self, name: str) -> NoReturn:
        raise self._unusable.get(name) or UnexpectedAnswer(self._action, f"{self._path}{name} is missing")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default if it is absent."""
        if name in self._unusable:
            raise self._unusable[name]
        return super().get(name, default)


class _Items(list[Any]):
    """Items of a list."""

    def __init__(self, items: list[Any], action: str, path: str) -> None:
        super().__init__(items)
        self._action, self._path = action, path

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except IndexError:
            raise UnexpectedAnswer(self._action, f"{self._path.rstrip('.')} is empty") from None


def check_client(client: Any) -> None:
    """Have a client of botocore check every answer, those to its paginators and waiters included."""
    # No event of botocore can replace an answer; paginators and waiters call this method, too.
    call = client._make_api_call

    def checked_call(action: str, arguments: Mapping[str, Any]) -> Any:
        from botocore.parsers import ResponseParserError

        try:
            answer = call(action, arguments)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            # botocore's parsers raise these for numbers and times that are none.
            raise ResponseParserError(f"AWS's answer to {action} cannot be parsed: {error}") from error
        return _checked(answer, client.meta.service_model.operation_model(action).output_shape, action, "")

    client._make_api_call = checked_call


def _checked(value: Any, shape: Shape | None, action: str, path: str) -> Any:
    """Return a part of an answer, of the type that its shape has.

    :param path: of its fields, such as ``Reservations.Instances.``.
    """
    # botocore itself decodes IAM's policies, which its model calls strings.
    if shape is None or shape.name == "policyDocumentType":
        return value
    kind: Any = shape.type_name
    types = _TYPES.get(kind)
    # bool is an int in Python.
    if types and (not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean")):
        raise UnexpectedAnswer(action, f"{path.rstrip('.') or 'it'} is not a {kind}")
    if kind == "structure":
        return _fields(value, shape, action, path)
    if kind == "list":
        member: Any = shape
        return _Items([_checked(item, member.member, action, path) for item in value], action, path)
    return value


def _fields(fields: Mapping[str, Any], shape: Any, action: str, path: str) -> _Fields:
    members: Mapping[str, Shape] = shape.members
    usable: dict[str, Any] = {}
    unusable: dict[str, UnexpectedAnswer] = {}
    for name, field in fields.items():
        # null means that there is none.
        if field is None:
            continue
        try:
            usable[name] = _checked(field, members.get(name), action, f"{path}{name}.")
        except UnexpectedAnswer as problem:
            unusable[name] = problem
    return _Fields(usable, unusable, action, path)
