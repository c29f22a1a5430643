"""The public surface: what a host may import, and nothing else by accident."""

from __future__ import annotations

import importlib

import pytest

import ent_notify

PACKAGES = ("ent_notify", "ent_notify.asgi", "ent_notify.settings", "ent_notify.observe", "ent_notify.cli")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), f"{package} lists {name} and does not have it"
        value = getattr(module, name)
        if callable(value) and str(getattr(value, "__module__", "")).startswith("ent_notify"):
            assert value.__doc__, f"{package}.{name} says nothing of itself"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_lists_are_in_order(package: str) -> None:
    names = importlib.import_module(package).__all__
    # As ruff sorts them: constants, then classes, then the rest.
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name[:1].islower(), name))


def test_what_a_host_may_import() -> None:
    assert set(ent_notify.__all__) >= {"EntNotifyError", "Engine", "open_engine", "Settings", "load_settings"}
