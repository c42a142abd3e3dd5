"""Alter the answers of API calls: a field is left out, or has another value."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from localcloud.aws.wsgi import Application, Environ, StartResponse
from localcloud.fault_injection.api_calls import FAULTS
from localcloud.scenarios.scenario import Fault


def alter_answers(inner: Application) -> Application:
    """Leave a field out of the answer, or give it another value, after the call took effect."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fault = next((fault for fault in environ[FAULTS] if fault.kind == "altered"), None)
        if fault is None:
            return inner(environ, start_response)
        head: list[Any] = []
        body = alter(b"".join(inner(environ, lambda *fields: head.extend(fields))), fault)
        status, headers, *rest = head
        others = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*others, ("Content-Length", str(len(body)))], *rest)
        return [body]

    return application


def alter(body: bytes, fault: Fault) -> bytes:
    """Return the body of an answer without the fault's field, or with another value there; others as they are."""
    try:
        if body.lstrip().startswith(b"<"):
            return _alter_xml(body, fault["field"], fault["value"])
        return json.dumps(_alter_json(json.loads(body), fault["field"], fault["value"])).encode()
    except (ElementTree.ParseError, ValueError):
        return body


def _alter_xml(body: bytes, field: str, value: str) -> bytes:
    document = ElementTree.fromstring(body)
    for parent in list(document.iter()):
        for element in [child for child in parent if child.tag.rpartition("}")[2] == field]:
            if value:
                element[:], element.text = [], value
            else:
                parent.remove(element)
    return ElementTree.tostring(document)


def _alter_json(document: Any, field: str, value: str) -> Any:
    if isinstance(document, list):
        return [_alter_json(item, field, value) for item in document]
    if not isinstance(document, dict):
        return document
    altered = {name: _alter_json(item, field, value) for name, item in document.items() if name != field}
    return altered | ({field: _json_value(value)} if field in document and value else {})


def _json_value(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
