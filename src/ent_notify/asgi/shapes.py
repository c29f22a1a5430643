"""Strict JSON: models that refuse what they do not know, and the sentences in which they say so."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ent_notify.asgi.problems import Fault, Problem, malformed
from ent_notify.errors import MalformedSync
from ent_notify.wire import forms
from ent_notify.wire.forms import MSGPACK

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 20
"""Levels of a body's arrays and objects; ours have three."""


class Shape(BaseModel):
    """Base of every body, query and answer: no unknown field, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL character, which no text can; take it out")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; give it a text")
    return text


def _digits(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


TEXT = (AfterValidator(_without_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"}))
"""After a text's bounds: without NUL, which PostgreSQL cannot hold."""
PROSE = (
    AfterValidator(_without_nul),
    AfterValidator(_filled),
    Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}),
)
"""The same, with something to read in it."""
WHOLE = BeforeValidator(_whole)
"""After a number's bounds: JSON Schema takes 7.0 for an integer, so it is one."""
Place = Annotated[int, Field(ge=0, lt=10**18), WHOLE]
"""A place in the feed."""
FROM_TEXT = BeforeValidator(_digits)
"""After a number's bounds: in a query, where all is text."""
Instant = AwareDatetime


def read_body(kind: type[Model], content_type: str, body: bytes, *, packs: bool = False) -> Model:
    """The body as a ``kind``; with ``packs`` it may be msgpack, too.

    Raises Problem 415, 400 (no JSON) or 422, with a fault for each wrong field.
    """
    named = content_type.partition(";")[0].strip().lower()
    if packs and named == MSGPACK:
        try:
            return _checked(kind, forms.read_body(body, MSGPACK), None, "")
        except MalformedSync as error:
            raise Problem(400, "Malformed request", f"{error}.") from None
    if named != "application/json":
        raise Problem(415, "Unsupported media type", "Send the body as application/json.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "Malformed request", f"The body is not JSON: {error}.") from None
    return _checked(kind, value, body, "")


def read_query(kind: type[Model] | None, query: bytes) -> Model | None:
    """The query as a ``kind``; None takes none. Raises Problem 422."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError:
        raise malformed("The query cannot be read; send fields in UTF-8, percent-encoded.") from None
    values = dict(pairs)
    if len(values) < len(pairs):
        raise malformed("A field stands twice in the query; give each once.")
    if kind is None:
        if values:
            raise malformed(
                "This takes no query.", [Fault(name[:100], "is not a field here; take it out") for name in values]
            )
        return None
    return _checked(kind, values, None, "query ")


def _checked(kind: type[Model], value: Any, raw: bytes | None, where: str) -> Model:
    try:
        # A body is read again by pydantic from its text, because in JSON an instant is a text, strict or not.
        return kind.model_validate(value) if raw is None else kind.model_validate_json(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=False)
        faults = [Fault(_pointer(detail, query=bool(where)), _sentence(detail, kind)) for detail in details[:20]]
    first = faults[0]
    raise malformed(f"{where}{first.at or 'The body'}: {first.detail}.", faults)


def _pointer(detail: ErrorDetails, *, query: bool) -> str:
    """RFC 6901 in a body; the field's name in a query."""
    parts = [str(part)[:100].replace("~", "~0").replace("/", "~1") for part in detail["loc"]]
    return "".join(parts) if query else "".join(f"/{part}" for part in parts)


def _sentence(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    """What is wrong, and what to do; never the value that was sent."""
    match detail["type"]:
        case "extra_forbidden":
            name = str(detail["loc"][-1])
            near = difflib.get_close_matches(name, _fields(kind), n=1)
            return "is not a field here; " + (f"did you mean {near[0]}?" if near else "take it out")
        case "missing":
            return "is missing; give it"
        case "value_error":
            return str(detail.get("ctx", {}).get("error", detail["msg"]))
        case "json_invalid":
            return "is not JSON that can be read"
    text = detail["msg"]
    return f"{text[:1].lower()}{text[1:]}"


def _fields(kind: type[BaseModel]) -> list[str]:
    """Every field's name in a model and in the models of its fields."""
    names: list[str] = []
    for name, field in kind.model_fields.items():
        names.append(name)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not kind:
                names += _fields(inner)
    return names
