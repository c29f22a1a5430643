"""The scripts of examples/deploy/postgresql, against a real server: a replica by password, and commits that wait."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import psycopg

from ent_notify.store.cluster import DATABASE, SUPERUSER, Cluster
from ent_notify.store.embedded import EmbeddedServer, parse_address

SCRIPTS = Path(__file__).parents[2] / "examples/deploy/postgresql"


def test_the_shipped_scripts_make_a_synchronous_replica(server_folder: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o711)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    where = f"embedded://{quote(str(folder / 'one'))}?fsync=off&shared_buffers=16MB&listen=127.0.0.1:{port}"
    primary = EmbeddedServer.join(parse_address(where))
    replica = Cluster.prepare(folder / "two")
    owner = (folder / "two").stat()
    (folder / "replication").write_text("it's a ; secret\n", encoding="utf-8")
    (folder / "docker-entrypoint.sh").write_text("#!/bin/sh\ntest $1 = postgres\n", encoding="utf-8")
    (folder / "docker-entrypoint.sh").chmod(0o755)

    def run(name: str, **variables: str) -> None:
        """The script with our places instead of the container's, as the server's own user."""
        text = (SCRIPTS / name).read_text(encoding="utf-8").replace("/run/secrets", str(folder))
        text = text.replace("host=db-1", f"host=127.0.0.1 port={port}").replace(
            "-host db-1", f"-host 127.0.0.1 --port {port}"
        )
        script = folder / name
        script.write_text(text, encoding="utf-8")
        path = f"{folder}:{primary.bin_path}:{os.environ['PATH']}"
        bash = shutil.which("bash")
        assert bash
        root = os.geteuid() == 0
        subprocess.run(
            [bash, script],
            cwd=folder,
            env={"PATH": path, "HOME": str(folder), **variables},
            check=True,
            user=owner.st_uid if root else None,
            group=owner.st_gid if root else None,
            extra_groups=[] if root else None,
        )

    try:
        data = str(primary.cluster.data)
        at = {"PGHOST": str(primary.socket_dir), "PGPORT": str(port)}
        run("10-replication.sh", POSTGRES_USER=SUPERUSER, POSTGRES_DB=DATABASE, PGDATA=data, **at)
        primary.cluster.stop()  # as the image does after its scripts
        primary.cluster.start(primary.address.listen, primary.address.settings)
        run("replica.sh", PGDATA=str(replica.data))
        run("replica.sh", PGDATA=str(replica.data))  # it finds its data, and copies nothing
        replica.start(None, MappingProxyType({"fsync": "off", "shared_buffers": "16MB"}))
        with psycopg.connect(primary.dsn(), autocommit=True) as connection:
            connection.execute("create table waited_for ()")
            found = connection.execute("select application_name, sync_state from pg_stat_replication").fetchall()
            assert found == [("db-2", "quorum")]
            assert connection.execute("show synchronous_standby_names").fetchall() == [('ANY 1 ("db-2")',)]
    finally:
        replica.stop("immediate")
        primary.cluster.stop("immediate")
        primary.leave()
