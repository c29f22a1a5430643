"""What runs a block of the documentation, or reads it as its own program would."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import click
import jsonschema_rs
import trio
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from ent_notify import UnknownAudience, open_engine
from ent_notify._island import open_island
from ent_notify.cli import cli
from ent_notify.settings import load_settings, setting_rows
from ent_notify.store import open_database

ROOT = Path(__file__).parents[2]
OTHERS = {
    *("pip", "openssl", "nginx", "nats-server", "psql", "dig", "curl", "chmod", "cp", "systemctl", "uvicorn"),
    *("pg_basebackup", "podman", "kubectl", "install", "systemd-analyze", "useradd", "mkdir"),
}
"""Programs of others that pages name: their arguments are theirs."""


def run_sql(example: Example) -> None:
    async def run() -> None:
        async with open_island() as island, open_database(example.namespace["dsn"], island) as database:
            await database.script(str(example.parsed))

    trio.run(run)


def read_toml(example: Example) -> None:
    """It is a settings file that is taken: each name is a setting, each value is one that it may have."""
    values = tomllib.loads(str(example.parsed))
    known = {row.name for row in setting_rows()}
    for group, entries in values.items():
        for name, value in entries.items():
            names = [f"{group}.NAME.{each}" for each in value] if isinstance(value, dict) else [f"{group}.{name}"]
            assert set(names) <= known, names
    file = Path("page.toml")
    file.write_text(str(example.parsed), encoding="utf-8")
    for secret in re.findall(r'^\w+_file = "([^"/][^"]*)"', str(example.parsed), re.MULTILINE):
        Path(secret).parent.mkdir(parents=True, exist_ok=True)
        Path(secret).write_text("x" * 40, encoding="utf-8")
    load_settings(file)


def read_command(words: list[str], line: str) -> None:
    """``ent-notify ...``: every command down to the last has the arguments that it takes; paths need not be there."""
    command: click.Command = cli
    context = click.Context(cli)
    rest = words
    while isinstance(command, click.Group):
        if command is cli:
            while rest and rest[0].startswith("--"):
                rest = rest[2:] if rest[0] == "--config" else rest[1:]
        assert rest and rest[0] in command.commands, f"{line}: there is no such command"
        name, command, rest = rest[0], command.commands[rest[0]], rest[1:]
        try:
            context = command.make_context(name, list(rest), parent=context)
        except click.BadParameter as wrong:
            assert re.search("does not exist|No such file", wrong.message), f"{line}: {wrong.message}"
            return


def read_shell(example: Example) -> None:
    """Our commands are read by our command line; make's targets are in the Makefile; what else is run is known."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for sign in (">", "|"):
            words = words[: words.index(sign)] if sign in words else words
        completes = bool(words) and words[0].startswith("_ENT_NOTIFY_COMPLETE=")
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["sudo"]:
            words = words[1:]
        if not words:
            continue
        if words[0] == "make":
            assert words[1] in targets, line
        elif completes:
            assert words == ["ent-notify"], line
        elif words[0] == "ent-notify":
            read_command(words[1:], line)
        elif words[0] == "python":
            assert words[1] == "-m", line
            assert (ROOT / f"{words[2].replace('.', '/')}.py").exists() or words[2] in ("venv", "pip"), line
        else:
            assert words[0] in OTHERS | {"eval"}, f"{line}: who runs this?"


def read_http(example: Example) -> None:
    """A request, or an answer, that the OpenAPI document allows: path, parameters, body."""
    document = json.loads((ROOT / "docs/reference/openapi.json").read_text(encoding="utf-8"))
    head, _, body = str(example.parsed).partition("\n\n")
    first = head.splitlines()[0].split(" ")
    if first[0].startswith("HTTP/"):
        schema = example.namespace["operation"]["responses"][first[1]]["content"]
    else:
        method, target, _ = first
        url = urlsplit(target)
        pattern, operation = next(
            (path, methods[method.lower()])
            for path, methods in document["paths"].items()
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), url.path) and method.lower() in methods
        )
        example.namespace["operation"] = operation
        allowed = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
        assert {name for name, _ in parse_qsl(url.query)} <= allowed, f"{pattern} takes {allowed}"
        schema = operation.get("requestBody", {}).get("content", {})
        assert bool(body.strip()) == bool(schema), f"{pattern}: a body where there is none, or none where there is one"
    if body.strip():
        kind = re.search(r"^Content-Type: (\S+)", head, re.MULTILINE)
        assert kind, f"{head}: of what kind is its body?"
        value = dict(parse_qsl(body.strip())) if "form" in kind[1] else json.loads(body)
        whole = {**schema[kind[1]]["schema"], "components": document["components"]}
        jsonschema_rs.validate(whole, value)


def read_unit(example: Example) -> None:
    """A systemd unit: sections and names, and commands of ours that are read by our command line."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(str(example.parsed))
    assert {"Unit", "Service"} & set(parser.sections())
    for section in parser.sections():
        if started := parser[section].get("execstart"):
            words = shlex.split(started)
            assert words[0].endswith("/ent-notify"), started
            read_command(words[1:], started)


def read_json(example: Example) -> None:
    """An event among them is published: it is as it must be, though whom it is for need not be there."""
    value = json.loads(str(example.parsed))

    async def publish() -> None:
        async with open_engine(load_settings()) as engine:
            with suppress(UnknownAudience):
                await engine.publish(value)

    if "key" in value and "data" in value:
        trio.run(publish)


def read_script(example: Example) -> None:
    """Node reads it as a module, where there is one (tests/browser runs the client itself)."""
    if node := shutil.which("node"):
        script = Path("block.mjs")
        script.write_text(str(example.parsed), encoding="utf-8")
        subprocess.run([node, "--check", script], check=True)


def read_text(example: Example) -> None:
    """Pictures, records, what a program prints: nothing that would be run if it were called what it is."""
    text = str(example.parsed)
    assert not re.search(
        r"^\s*(import|from|await|async|with|select|grant|insert|begin)\b .*[(;:]", text, re.M | re.I
    ), text


SYBIL = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("sql", run_sql),
        CodeBlockParser("toml", read_toml),
        CodeBlockParser("bash", read_shell),
        CodeBlockParser("http", read_http),
        CodeBlockParser("ini", read_unit),
        CodeBlockParser("json", read_json),
        CodeBlockParser("js", read_script),
        CodeBlockParser("text", read_text),
    ],
    path=str(ROOT),
)
LANGUAGES = {"python", "sql", "toml", "bash", "text", "json", "ini", "js", "http"}
