"""The reference of the HTTP API and of the command line, made when the site is built, from the routes and the commands.

A hook of mkdocs: both pages are in no file, and never older than the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from ent_notify.asgi.openapi import document
from ent_notify.asgi.routes import ROUTES
from ent_notify.cli import cli


def http_page() -> str:
    """Every route with its parameters, body and answers, and every shape that they name."""
    described = document(ROUTES)
    lines = ["# HTTP API", ""]
    lines += [
        "Each route, and the shapes of bodies and answers. [openapi.json](openapi.json) is the same for programs;"
    ]
    lines += ["[The API](../api.md) says who may ask, and what errors mean.", ""]
    lines += ["| Route | What it does | Parameters | Body | Answer |", "|---|---|---|---|---|"]
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            parameters = ", ".join(_parameter(each) for each in route.get("parameters", []))
            body = _shape(_content(route.get("requestBody", {})))
            good = min(route["responses"])
            answer = f"{good} {_shape(_content(route['responses'][good]))}".strip()
            name = f"`{method.upper()} {path}`"
            lines.append(f"| {name} | {_cell(route['summary'])} | {parameters} | {body} | {answer} |")
    for name, schema in sorted(described["components"]["schemas"].items()):
        lines += ["", f"## {name}", "", *([_cell(schema["description"]), ""] if schema.get("description") else [])]
        lines += ["| Field | Kind | What it is |", "|---|---|---|"]
        required = set(schema.get("required", ()))
        for field, value in schema.get("properties", {}).items():
            mark = "" if field in required else " (optional)"
            lines.append(f"| `{field}` | {_shape(value)}{mark} | {_cell(value.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """The help of every command."""
    lines = ["# Commands", "", "What `ent-notify COMMAND --help` says.", ""]
    lines += ["[Running it](../running.md) has exit codes and completion.", ""]
    for name, command, context in _walk(cli, click.Context(cli, info_name="ent-notify", max_content_width=100)):
        shown = command.get_help(context).replace("\\b\n", "")
        lines += [f"## {name}", "", "```text", *(line.rstrip() for line in shown.splitlines()), "```", ""]
    return "\n".join(lines)


def _walk(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name, command in sorted(group.commands.items()):
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100)
        yield inner.command_path.removeprefix("ent-notify "), command, inner
        if isinstance(command, click.Group):
            yield from _walk(command, inner)


def _content(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    for content in holder.get("content", {}).values():
        schema: Mapping[str, Any] = content.get("schema", {})
        return schema
    return {}


def _parameter(parameter: Mapping[str, Any]) -> str:
    return f"`{parameter['name']}`" + ("" if parameter.get("required") else "?")


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with a link to what it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_shape(each) for each in schema[several]))
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    kind = str(schema.get("format") or schema.get("type") or "")
    bounds = [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]
    bounds += [f"at most {schema['maxLength']} characters"] if "maxLength" in schema else []
    return ", ".join([kind, *bounds]) if kind else ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


PAGES = {"reference/http.md": http_page, "reference/commands.md": commands_page}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs once it has found its files."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files
