"""Keep a release's code for the tests of rolling upgrades: ``python .ci/keep_release.py REVISION``, at each release.

Writes tests/upgrade/previous.tar.xz: ``ent_notify`` as it was at REVISION, without what only people read.
"""

import io
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests/upgrade/previous.tar.xz"
LEFT_OUT = ("ent_notify/store/schema.sql",)


def main(revision: str) -> None:
    """Take the files from git, with nothing in them that differs from one run to the next."""
    archive = ["git", "archive", revision, "src"]
    whole = subprocess.run(archive, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603 - of our own
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(whole)) as source, tarfile.open(fileobj=packed, mode="w") as target:
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            name = member.name.removeprefix("src/")
            if not member.isfile() or not name.startswith("ent_notify/") or name in LEFT_OUT:
                continue
            plain = tarfile.TarInfo(name)
            plain.size = member.size
            target.addfile(plain, source.extractfile(member))
    KEPT.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(sys.argv[1])
