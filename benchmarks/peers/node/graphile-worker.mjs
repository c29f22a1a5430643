// graphile-worker at the settings of its own performance page: batching of fetches, completions and failures.
// usage: node graphile-worker.mjs install | enqueue RECIPIENTS PER_JOB | work REAL      (PGHOST, PGUSER, PGDATABASE)
import { Logger, makeWorkerUtils, runOnce } from "graphile-worker";
import pg from "pg";
import { Gone, outcome, serve } from "./protocol.mjs";

const CONCURRENCY = 24;
const [, , verb, ...rest] = process.argv;
const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ max: CONCURRENCY + 1 });
const broken = (error) => { console.error(error); process.exitCode = 1; };
pgPool.on("error", broken);
pgPool.on("connect", (client) => client.on("error", broken));

if (verb === "install") {
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  await utils.release();
} else if (verb === "enqueue") {
  const [recipients, perJob] = rest.map(Number);
  for (let first = 0; first < recipients; first += 100_000) {
    const jobs = [];
    for (let id = first; id < Math.min(first + 100_000, recipients); id += perJob) {
      const size = Math.min(perJob, recipients - id);
      jobs.push({ identifier: "bench", payload: { ids: Array.from({ length: size }, (_, i) => id + i) } });
    }
    await pgPool.query(
      `select 1 from graphile_worker.add_jobs(
         array(select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))`,
      [JSON.stringify(jobs)],
    );
  }
} else {
  const real = rest[0] === "1";
  Error.stackTraceLimit = 0; // a failure is stored with its stack: spare it
  const gone = new Gone(pgPool);
  let handled = 0;
  const bench = real
    ? ({ ids }, { job }) => {
        handled += 1;
        const verdict = outcome(ids[0], job.attempts === 1);
        if (verdict === "retry") throw new Error("put off");
        return verdict === "gone" ? gone.add(ids[0]) : undefined;
      }
    : () => {
        handled += 1;
      };
  process.env.NO_LOG_SUCCESS = "1";
  const preset = {
    worker: {
      concurrentJobs: CONCURRENCY,
      localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  };
  await pgPool.query("select 1");
  await serve(async () => {
    handled = 0;
    await runOnce({ preset, pgPool, logger, noHandleSignals: true, taskList: { bench } });
    await gone.flush();
    return handled;
  });
}
await pgPool.end();
