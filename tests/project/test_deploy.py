"""What examples/deploy starts: real commands, real settings, real ports, and files that their own programs take."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.project.page_blocks import read_command

from ent_notify.settings import Settings, load_settings, setting_rows

yaml: Any = importlib.import_module("yaml")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples/deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS: dict[str, list[dict[str, Any]]] = {
    path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PORTS = {"metrics": 9464, "admin": 9465, "streams": 8701, "https": 443, "health": 8222, "client": 4222, "cluster": 6222}
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = dict(re.findall(r"^(ENT_NOTIFY_\w+)=(.+)$", README, re.MULTILINE))
"""What the page writes into the file of variables that the units read."""
SECRETS = ("database", "relay", "unsubscribe", "operator", "pseudonyms")


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that the manifests make."""
    for name, documents in MANIFESTS.items():
        for document in documents:
            if document["kind"] in ("Deployment", "StatefulSet", "Job"):
                yield f"{name}/{document['metadata']['name']}", document["spec"]["template"]["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, pod in pods():
        for container in pod["containers"]:
            yield f"{name}/{container['name']}", pod, container


def ours() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Each of our processes: where it is started, its command, the variables that it is given."""
    for name, service in COMPOSE["services"].items():
        if service["image"].startswith("ent-notify"):
            yield f"compose {name}", service["command"], service["environment"]
    for name, _, container in containers():
        if container["image"].startswith("ent-notify"):
            yield name, container["args"], {each["name"]: each.get("value", "x") for each in container["env"]}
    for path in UNITS:
        words = shlex.split(unit(path)["Service"]["ExecStart"])
        assert words[0] == "/srv/ent-notify/.venv/bin/ent-notify"
        given = dict(re.findall(r"^Environment=(\w+)=(.*)$", path.read_text("utf-8"), re.MULTILINE)) | ENVIRONMENT
        yield path.name, words[1:], {variable: value.replace("%i", "1") for variable, value in given.items()}


OURS = list(ours())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file as it lies in /etc/ent-notify, with secrets beside it, and no variable of ours."""
    for name in list(os.environ):
        if name.startswith("ENT_NOTIFY_"):
            monkeypatch.delenv(name)
    shutil.copy(DEPLOY / "ent-notify.toml", tmp_path)
    (tmp_path / "secrets").mkdir()
    for name in SECRETS:
        (tmp_path / "secrets" / name).write_text("x" * 40, encoding="utf-8")
    monkeypatch.setenv("ENT_NOTIFY_CONFIG", str(tmp_path / "ent-notify.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable, value in variables.items():
        if variable != "ENT_NOTIFY_CONFIG":
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:\?.*?\}", "x", value))
    return load_settings()


def test_there_is_each_of_them() -> None:
    assert {command[0] for _, command, _ in OURS} == {"worker", "gateway", "migrate"}
    assert len(UNITS) == 2 and len(OURS) == 9
    assert {name for name, _ in pods()} == {"gateway/gateway", "worker/worker", "nats/nats", "migrate/migrate"}
    assert [name for name in COMPOSE["services"] if name.startswith(("db-", "nats-"))] == [
        *("db-1", "db-2", "nats-1", "nats-2", "nats-3")
    ]


@pytest.mark.parametrize(("where", "command", "variables"), OURS, ids=[where for where, _, _ in OURS])
def test_a_command_and_its_settings_are_taken(
    where: str, command: list[str], variables: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_command(command, where)
    settings = settings_of(variables, monkeypatch)
    assert settings.store.url.startswith("postgresql://ent_notify:xxx") and settings.bus.chosen == "nats"
    if not where.endswith(".service"):
        assert (settings.metrics.port, settings.gateway.admin_port, settings.gateway.port) == (9464, 9465, 8701)


def test_every_variable_that_is_named_anywhere_is_a_setting() -> None:
    known = {f"ENT_NOTIFY_{row.name.replace('.', '__').upper()}" for row in setting_rows()} | {"ENT_NOTIFY_CONFIG"}
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".json"]
    found = {name for path in files for name in re.findall(r"ENT_NOTIFY_\w+", path.read_text(encoding="utf-8"))}
    assert len(found) > 5
    assert found - known == set()


def test_probes_ask_at_ports_and_paths_that_there_are() -> None:
    gateway = (ROOT / "src/ent_notify/gateway/server.py").read_text(encoding="utf-8")
    served = {"gateway": set(re.findall(r'"GET", "(/\w+)"', gateway)), "worker": {"/healthz", "/metrics"}}
    assert served["gateway"] >= {"/healthz", "/readyz", "/metrics"}
    probes = 0
    for name, _, container in containers():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        assert ports.items() <= PORTS.items(), name
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if kind in container:
                asked = container[kind]["httpGet"]
                assert asked["port"] in ports, name
                assert asked["path"] in served.get(container["name"], {"/healthz"}), name
                probes += 1
    assert probes >= 5
    for service in (each for documents in MANIFESTS.values() for each in documents if each["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert PORTS[port.get("targetPort", port["name"])] == port["port"]
    assert "    server 127.0.0.1:8701;" in (ROOT / "examples/nginx/ent-notify.conf").read_text(encoding="utf-8")


def test_every_volume_config_and_secret_is_there() -> None:
    kustomization = MANIFESTS["kustomization"][0]
    configs = {each["name"]: each["files"] for each in kustomization["configMapGenerator"]}
    for name, files in configs.items():
        for file in files:
            assert (DEPLOY / "kubernetes" / file).is_file(), name
    assert sorted(kustomization["resources"]) == sorted(f"{name}.yaml" for name in MANIFESTS if name != "kustomization")
    for name, pod in pods():
        volumes = {each["name"]: each for each in pod["volumes"]}
        used = set()
        for container in pod["containers"]:
            for mount in container["volumeMounts"]:
                used.add(mount["name"])
                config = volumes[mount["name"]].get("configMap", {}).get("name")
                assert config is None or config in configs, name
                if config and "subPath" in mount:
                    assert mount["subPath"] in {Path(file).name for file in configs[config]}, name
        assert used == set(volumes), name
        plain = str([each for each in volumes.values() if "configMap" not in each])
        for secret in re.findall(r"'(?:secretName|name)': '([\w-]+)'", plain):
            assert secret in volumes or f"`{secret}`" in README, secret
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not source.startswith("./secrets"):
                assert (DEPLOY / source).exists(), name
            elif not source.startswith("."):
                assert source in COMPOSE["volumes"], name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"]), name


def test_whoever_stops_a_service_waits_until_it_has_drained(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(ENVIRONMENT, monkeypatch)
    drain = {"worker": settings.worker.drain_seconds, "gateway": settings.gateway.drain_seconds}
    for path in UNITS:
        kind = path.name.split("-")[2].split("@")[0]
        assert float(unit(path)["Service"]["TimeoutStopSec"]) > drain[kind] + 2
    for service in COMPOSE["services"].values():
        if service["image"].startswith("ent-notify") and service["command"][0] in drain:
            assert float(service["stop_grace_period"].removesuffix("s")) > drain[service["command"][0]] + 3
    for name, pod in pods():
        if name.split("/")[1] in drain:
            assert pod["terminationGracePeriodSeconds"] > drain[name.split("/")[1]] + 2


def test_no_pod_has_more_rights_than_it_needs() -> None:
    for name, pod, container in containers():
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], name
        assert pod["enableServiceLinks"] is False, f"{name}: a service's variables would be taken for settings"
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"], name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert "memory" in container["resources"]["limits"], name


def test_the_image_installs_what_the_lock_says() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) == set(project["optional-dependencies"]) - {"all", "testing", "embedded"}
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    (script,) = re.findall(r"^RUN (sed .+?) requirements\.lock > constraints\.txt", text, re.MULTILINE)
    command = [*shlex.split(script), str(ROOT / "requirements.lock")]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    pins = [line for line in made.stdout.splitlines() if line and not line.startswith("#")]
    assert len(pins) > 50 and all(re.match(r"[\w.-]+==[\w.!+]+( ;.*)?$", line) for line in pins)
    assert set(map(int, re.findall(r"\d+", re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)[0]))) == {8701, 9464, 9465}
    assert 'ENTRYPOINT ["ent-notify"]' in text and "\nUSER 10001\n" in text
    assert project["version"] in text
    assert COMPOSE["services"]["gateway"]["image"] == f"ent-notify:{project['version']}"
    assert MANIFESTS["kustomization"][0]["images"][0]["newTag"] == project["version"]


@pytest.mark.peer("systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit_and_finds_it_hardened(path: Path, tmp_path: Path) -> None:
    program = shutil.which("true")
    assert program
    text = path.read_text(encoding="utf-8").replace("/srv/ent-notify/.venv/bin/ent-notify", program)
    started = tmp_path / path.name.replace("@", "@1")
    started.write_text(text, encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", started], capture_output=True, text=True, check=False)
    own = [line for line in verified.stderr.splitlines() if path.stem.split("@")[0] in line]
    assert (verified.returncode, own) == (0, [])
    exposed = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(started)]
    judged = subprocess.run(exposed, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-2000:]
    service = unit(path)["Service"]
    assert (service["Type"], service["ExecReload"]) == ("notify", "/bin/kill -HUP $MAINPID")
    assert float(service["WatchdogSec"]) >= 60


@pytest.mark.peer("nginx")
def test_nginx_takes_its_main_file(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("ent.example")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    house = (ROOT / "examples/nginx/ent-notify.conf").read_text(encoding="utf-8")
    house = re.sub(r"/etc/ssl/ent\.example\.\w+", str(tmp_path / "both.pem"), house)
    (tmp_path / "ent-notify.conf").write_text(house.replace("/var/log/nginx", str(tmp_path)), encoding="utf-8")
    main = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    main = main.replace(" /tmp/", f" {tmp_path}/").replace("/etc/nginx/conf.d", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(main, encoding="utf-8")
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program
    told = subprocess.run([program, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


@pytest.mark.peer("nats-server")
def test_nats_takes_its_file() -> None:
    program = shutil.which("nats-server", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program
    routes = COMPOSE["services"]["nats-1"]["command"][-1]
    asked = [program, "-t", "--config", DEPLOY / "nats.conf", "--routes", routes]
    told = subprocess.run(
        asked, capture_output=True, text=True, check=False, env=os.environ | {"BUS_PASSWORD": "x" * 20}
    )
    assert told.returncode == 0, told.stderr
