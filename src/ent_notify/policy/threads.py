"""What a conversation may be: shapes that hold together, and who answers whom in them."""

from __future__ import annotations

import re

from ent_notify.errors import MalformedMessage, NotAllowed
from ent_notify.model.conversations import NewConversation, Replies, Shape
from ent_notify.model.people import Profile
from ent_notify.policy.messages import check_body, check_subject
from ent_notify.policy.safety import SUSPENSIONS, suspended

MOST_PEOPLE = 500
"""People named in one conversation: more than that is a group."""
MOST_CIRCLES = 20
MOST_LABELS = 20
LONGEST_LABEL = 40
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_KEYED = (Shape.CIRCLE, Shape.ANNOUNCEMENT, Shape.STAFF)
WORKS_THERE = frozenset({Profile.TEACHER, Profile.STAFF})


def check_new(new: NewConversation) -> None:
    """Raises MalformedMessage unless ``new`` is a conversation that can be."""
    check_body(new.body)
    if new.shape is Shape.LINE:
        raise MalformedMessage("a line to the pupil-life office is opened by safety.call_office")
    if new.subject or new.shape is not Shape.DIRECT:
        check_subject(new.subject)
    people, circles = len(new.people), len(new.circles)
    if people > MOST_PEOPLE or circles > MOST_CIRCLES:
        raise MalformedMessage(
            f"a conversation names at most {MOST_PEOPLE} people and {MOST_CIRCLES} groups, not {people} and {circles}; "
            "address a group as a whole"
        )
    if len(new.people) != len(new.to) + len(new.copy) + len(new.blind):
        raise MalformedMessage("somebody is addressed twice; name each person once, among to, copy or blind")
    if new.shape is Shape.DIRECT and (people != 1 or not new.to):
        raise MalformedMessage(f"a direct conversation is to one person, not to {people}")
    if circles and new.shape not in _KEYED:
        raise MalformedMessage(f"a {new.shape.name.lower()} conversation takes no groups")
    if new.shape is Shape.CIRCLE and not circles:
        raise MalformedMessage("a circle is a conversation of groups; name one")
    if new.shape is not Shape.CHILD and not people and not circles:
        raise MalformedMessage("a conversation is to somebody; name a person or a group")
    if (new.about is not None) != (new.shape in (Shape.STAFF, Shape.CHILD)):
        raise MalformedMessage("staff and child conversations are about a pupil (`about`), and no others are")
    if new.language is not None and not _LANGUAGE.fullmatch(new.language):
        raise MalformedMessage(f"the language is {new.language!r}; write a tag such as fr or pt-BR")


def replies_of(new: NewConversation) -> Replies:
    """Who may answer: nobody an announcement, the other one a direct message, whatever else was asked."""
    if new.shape is Shape.ANNOUNCEMENT:
        return Replies.NOBODY
    return Replies.ALL if new.shape is Shape.DIRECT else new.replies


def is_supervised(shape: Shape, replies: Replies, opener: Profile, *, is_opener: bool) -> bool:
    """Whether those who take part have the relation SAME_THREAD to whoever writes."""
    return shape is not Shape.DIRECT and opener in WORKS_THERE and (is_opener or replies is Replies.ALL)


def check_label(label: str) -> None:
    """Raises MalformedMessage unless ``label`` can be one."""
    if not label.strip() or len(label) > LONGEST_LABEL or not label.isprintable():
        raise MalformedMessage(f"a label is a text of 1 to {LONGEST_LABEL} characters, not {label!r}")


def refused(said: str, conversation: int) -> NotAllowed:
    """The error for what ``post_message`` said."""
    if said in SUSPENSIONS:
        return suspended(said)
    return NotAllowed(
        {
            "left": f"you take no part in conversation {conversation} any more",
            "closed": f"conversation {conversation} is closed",
            "no_replies": f"nobody may answer in conversation {conversation}; write to its author",
        }.get(said, "you may not write to one of these people")
    )
