"use strict";
// Publishing from Node, through psql: nothing to install. In one transaction with the host's own statements:
//
//     PGDATABASE=ent node publish.js p1 2030-09-18T08:00:00+02:00 81423
//
// Prints what ent_notify answers: {"created": true, "notification": 12}. Run again with the same number, nobody is told
// twice. A host with a driver (npm's pg) does the same on its own connection, between its begin and its commit:
//
//     await client.query("select ent_notify.publish($1::jsonb)", [JSON.stringify(event)]);
//
// SQLSTATE EN001 (nobody of that audience) and EN002 (malformed) end the transaction.

const { spawnSync } = require("node:child_process");

const script = `
begin;
-- the host's own statements stand here
select ent_notify.publish(:'event'::jsonb);
commit;
`;

function publish(event) {
  const options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"];
  const psql = spawnSync("psql", [...options, `--set=event=${JSON.stringify(event)}`], {
    input: script, // PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD say where
    encoding: "utf8",
  });
  if (psql.error) throw psql.error;
  if (psql.status !== 0) throw new Error(psql.stderr.trim());
  return JSON.parse(psql.stdout);
}

const [pupil, startsAt, number] = process.argv.slice(2);
try {
  const event = { type: "AbsenceRecorded", key: `absence-${number}`, data: { pupil, starts_at: startsAt } };
  console.log(JSON.stringify(publish(event)));
} catch (error) {
  console.error(`publish: ${error.message}`);
  process.exitCode = 1;
}
