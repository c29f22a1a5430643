"""A script on trio: take a file of announcements, publish each once, and say what would still wait.

Run it (ent-notify.toml or the environment as for the command line)::

    python -m examples.trio_script.publish announcements.csv

The file has the columns id, school (a UAI, or nothing for everyone), title, text. Run twice, it tells nobody twice.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ent_notify import Announcement, EntNotifyError, Everyone, School, load_settings, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator


def announcements(file: Path) -> Iterator[Announcement]:
    """The announcements that ``file`` holds."""
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            yield Announcement(
                key=f"announcement-{row['id']}",
                audience=School(row["school"]) if row["school"] else Everyone(),
                title=row["title"],
                body=row["text"],
            )


async def main(file: Path) -> None:
    """Publish all of them, or none if one is refused."""
    async with open_engine(load_settings()) as engine:
        for published in await engine.publish_many(list(announcements(file))):
            sys.stdout.write(f"{published.notification} {'published' if published.created else 'known already'}\n")


if __name__ == "__main__":
    try:
        trio.run(main, Path(sys.argv[1]))
    except (EntNotifyError, OSError, IndexError) as error:
        sys.exit(f"publish: {error}")
