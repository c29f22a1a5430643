"""What is only half a class cannot be made."""

from __future__ import annotations

from inspect import isabstract
from pathlib import Path

import pytest

import ent_notify
from ent_notify._island.calls import Call
from ent_notify.channels.http2 import Exchange
from ent_notify.model.audience import Audience
from ent_notify.store.database import Session

SOURCE = Path(ent_notify.__file__).parent


@pytest.mark.parametrize(
    ("base", "arguments"), [(Audience, ()), (Call, (None, ())), (Exchange, ([], b"")), (Session, ())]
)
def test_a_base_is_no_instance(base: type, arguments: tuple[object, ...]) -> None:
    assert isabstract(base)
    with pytest.raises(TypeError, match="abstract"):
        base(*arguments)


def test_no_method_waits_to_be_called_to_say_that_it_is_missing() -> None:
    assert not [file for file in SOURCE.rglob("*.py") if "NotImplementedError" in file.read_text(encoding="utf-8")]
