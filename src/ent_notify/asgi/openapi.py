"""The OpenAPI 3.1 document, written from the route table itself, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ent_notify.asgi.problems import CONTENT_TYPE as PROBLEM
from ent_notify.asgi.router import JSON, AnyRoute, Route
from ent_notify.asgi.unsubscribe import FIELD, VALUE
from ent_notify.wire.forms import MSGPACK

VERSION = "1"
_REFERENCE = "#/components/schemas/{model}"
_ALWAYS = (401, 403, 422, 429, 503)
"""What any route for a person may answer beside its own."""

_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `errors` names each wrong field by a JSON pointer.",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "additionalProperties": False,
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}


def document(routes: Iterable[AnyRoute], server: str = "/") -> dict[str, Any]:
    """The document for an app whose routes lie below ``server``."""
    table = list(routes)
    bodies = [(kind, "validation") for route in table if isinstance(route, Route) and (kind := route.body)]
    answers = [(route.answer, "serialization") for route in table if isinstance(route, Route)]
    _, schemas = models_json_schema(dict.fromkeys([*bodies, *answers]), ref_template=_REFERENCE)  # type: ignore[arg-type]  # the modes are literals, which a list widens
    paths: dict[str, Any] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ent_notify",
            "version": VERSION,
            "description": "Inbox, devices, preferences, conversations and live streams of one person.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM_SCHEMA, **schemas["$defs"]},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Signed by the host: ES256, with iss, aud, sub, iat and exp.",
                }
            },
        },
    }


def _operation(route: AnyRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "security": [{"bearer": []}] if isinstance(route, Route) else [],
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": _responses(route),
    }
    if isinstance(route, Route) and route.body is not None:
        operation["requestBody"] = {"required": True, "content": _forms(route, route.body)}
    if not isinstance(route, Route) and route.takes:
        form = {
            "type": "object",
            "required": [FIELD],
            "properties": {FIELD: {"const": VALUE}},
            "additionalProperties": False,
        }
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": form} for kind in route.takes}}
    return operation


def _responses(route: AnyRoute) -> dict[str, Any]:
    if isinstance(route, Route):
        content = _forms(route, route.answer)
        done, refuses = route.status, {*_ALWAYS, *route.refuses, *((400, 413, 415) if route.body else ())}
    else:
        content = {route.content_type: {"schema": {"type": "string" if route.content_type != JSON else "object"}}}
        done, refuses = 200, {422, 503, *route.refuses}
    responses: dict[str, Any] = {str(done): {"description": HTTPStatus(done).phrase, "content": content}}
    for status in sorted(refuses):
        problem: dict[str, Any] = {PROBLEM: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
        if status == 404 and not isinstance(route, Route):
            problem |= content
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    return responses


def _forms(route: Route, model: type[BaseModel]) -> dict[str, Any]:
    return {kind: {"schema": _reference(model)} for kind in ((JSON, MSGPACK) if route.packs else (JSON,))}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _NUMBER}
        for part in path.split("/")
        if part.startswith("{")
    ]


def _query_parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema()
    parameters = []
    for name, field in schema["properties"].items():
        field.pop("title", None)
        description = field.pop("description", "")
        if "anyOf" in field:  # nothing can be null in a query
            field |= next(choice for choice in field.pop("anyOf") if choice.get("type") != "null")
            field.pop("default", None)
        required = name in schema.get("required", ())
        parameters.append(
            {"name": name, "in": "query", "required": required, "description": description, "schema": field}
        )
    return parameters


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _name(route: AnyRoute) -> str:
    """``postInboxRead``: what generators of clients call the operation."""
    words = [word for part in route.path.removeprefix("/v1/").split("/") for word in part.strip("{}").split("-")]
    return route.method.lower() + "".join(word.replace(".", "_").capitalize() for word in words)
