"""schemathesis asks the real app, in a real host on a real database, whether it does what its document says.

Each operation is sent what the document allows and what it does not, within a bound of examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import trio
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ent_notify import Announcement, Everyone, open_engine, settings_from
from ent_notify.asgi import create_app
from ent_notify.asgi.openapi import document
from ent_notify.asgi.routes import ROUTES
from ent_notify.clock import SystemClock

from .api_house import Signer
from .served import serve

EXAMPLES = 6
"""Examples of each operation and mode. Raise it for a long run by hand."""
SCHEMA = schemathesis.openapi.from_dict(document(ROUTES, "/notify"))
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)]
assert len(OPERATIONS) == len(ROUTES)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    missing_required_header,
    ignored_auth,
    allow_header_conformance,
]
EXCEPT = {
    # what a schema cannot say: a subscription is JSON within a text, a cursor was given out, ids differ in a batch
    (label, positive_data_acceptance)
    for label in (
        "POST /v1/devices",
        "GET /v1/sync",
        "POST /v1/sync",
        # what a shape needs depends on it, a deadline lies ahead, a zone is one that there is, a label is printable
        "POST /v1/conversations",
        "POST /v1/conversations/{conversation}/messages",
        "POST /v1/conversations/{conversation}/messages/{seq}/reply",
        "POST /v1/conversations/{conversation}/keep",
        "POST /v1/drafts",
        "POST /v1/drafts/{draft}",
        "POST /v1/drafts/{draft}/send",
        "GET /v1/contacts",
    )
}


@pytest.fixture
def served(values: dict[str, Any], signer: Signer) -> Iterator[tuple[str, dict[str, str]]]:
    """A host, and the headers of a guardian who has an inbox and a conversation."""
    chosen = settings_from(
        {**values, "api": {**values["api"], "writes_per_minute": 100_000, "reads_per_minute": 100_000}}
    )

    async def fill() -> None:
        async with open_engine(chosen) as engine:
            for number in range(3):
                await engine.publish(Announcement(key=f"a{number}", audience=Everyone(), title="T", body="B"))
            await engine.worker("relay").run_until_idle()
            await engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")

    trio.run(fill)
    api = create_app(chosen)
    app = FastAPI(lifespan=api.lifespan)
    app.mount("/notify", api)
    with serve(app) as address:
        yield address, {"authorization": f"Bearer {signer.token('P11', SystemClock().now())}"}


def test_the_document_is_kept(served: tuple[str, dict[str, str]]) -> None:
    address, headers = served
    seen: dict[str, set[int]] = {}
    for operation in OPERATIONS:
        statuses = seen.setdefault(operation.label, set())
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                response = case.call(base_url=f"{address}/notify", headers=headers)
                statuses.add(response.status_code)  # noqa: B023 - it is called before the loop goes on
                checks = [each for each in CHECKS if (operation.label, each) not in EXCEPT]  # noqa: B023 - as above
                case.validate_response(response, checks=checks, headers=headers)

            try:
                ask()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, f"{operation.label} takes nothing"  # nothing can be wrong in it
            except Exception as error:
                raise AssertionError(operation.label) from error
    done = {label for label, statuses in seen.items() if any(status < 300 for status in statuses)}
    certain = {f"GET /v1/{path}" for path in ("inbox", "inbox/unread", "preferences", "openapi.json")}
    certain |= {"POST /v1/inbox/read", "POST /v1/devices", "POST /v1/streams/ticket"}
    assert done >= certain, "what is allowed was refused"
