"""ent_notify: the messaging and notification engine of a French school platform.

What a host imports stands here; each name is loaded from its module when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ent_notify.engine import Engine, open_engine
    from ent_notify.errors import (
        DirectoryError,
        EntNotifyError,
        MalformedEvent,
        NotAllowed,
        NotFound,
        PublishError,
        SchemaMismatch,
        SenderLimited,
        SettingsError,
        SourceError,
        StoreBusy,
        StoreError,
        StoreUnreachable,
        StoreVersionError,
        TooManyRemovals,
        UnknownAudience,
    )
    from ent_notify.model.audience import Audience, Everyone, Group, GuardiansOf, Person, School
    from ent_notify.model.delivery import Channel, Ledger, Urgency
    from ent_notify.model.events import (
        AbsenceRecorded,
        Announcement,
        Event,
        GradePublished,
        HomeworkAssigned,
        LessonChanged,
    )
    from ent_notify.model.fanout import Published
    from ent_notify.model.inbox import Explanation
    from ent_notify.model.people import (
        GroupKind,
        GroupRecord,
        GuardianLink,
        PersonRecord,
        Profile,
        Provider,
        Removal,
        SchoolRecord,
        SchoolRemoval,
    )
    from ent_notify.model.receipts import BounceCounts, Seen
    from ent_notify.settings import Settings, load_settings, settings_from

__all__ = [
    "AbsenceRecorded",
    "Announcement",
    "Audience",
    "BounceCounts",
    "Channel",
    "DirectoryError",
    "Engine",
    "EntNotifyError",
    "Event",
    "Everyone",
    "Explanation",
    "GradePublished",
    "Group",
    "GroupKind",
    "GroupRecord",
    "GuardianLink",
    "GuardiansOf",
    "HomeworkAssigned",
    "Ledger",
    "LessonChanged",
    "MalformedEvent",
    "NotAllowed",
    "NotFound",
    "Person",
    "PersonRecord",
    "Profile",
    "Provider",
    "PublishError",
    "Published",
    "Removal",
    "SchemaMismatch",
    "School",
    "SchoolRecord",
    "SchoolRemoval",
    "Seen",
    "SenderLimited",
    "Settings",
    "SettingsError",
    "SourceError",
    "StoreBusy",
    "StoreError",
    "StoreUnreachable",
    "StoreVersionError",
    "TooManyRemovals",
    "UnknownAudience",
    "Urgency",
    "load_settings",
    "open_engine",
    "settings_from",
]

_HOMES = (
    "errors",
    "model.audience",
    "model.delivery",
    "model.events",
    "model.people",
    "model.fanout",
    "model.inbox",
    "model.receipts",
    "settings",
    "engine",
)
"""Where the names live, those that load fastest first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"ent_notify.{home}")
            if hasattr(module, name):
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module 'ent_notify' has no attribute {name!r}")
