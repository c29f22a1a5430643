#!/bin/bash
# Run once by the primary's image, when its data is made: a user for the replica, and commits that wait for it.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/replication)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
create role replication login replication password :'password';
alter system set synchronous_standby_names = 'ANY 1 ("db-2")';
SQL
echo 'host replication replication samenet scram-sha-256' >> "$PGDATA/pg_hba.conf"
