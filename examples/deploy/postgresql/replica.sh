#!/bin/bash
# The replica: a copy of the primary when it has no data yet, then a server that streams from it.
set -euo pipefail
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  export PGPASSWORD; PGPASSWORD=$(cat /run/secrets/replication)
  until pg_isready --quiet --host db-1; do sleep 1; done
  pg_basebackup -d "host=db-1 user=replication application_name=db-2" -D "$PGDATA" -R -X stream -c fast
  unset PGPASSWORD
fi
exec docker-entrypoint.sh postgres
