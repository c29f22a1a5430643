// pg-boss: fetch and complete by batches of 1,000.
// usage: node pg-boss.mjs install | enqueue RECIPIENTS PER_JOB | work REAL      (PGHOST, PGUSER, PGDATABASE)
import PgBoss from "pg-boss";
import pg from "pg";
import { Gone, outcome, serve } from "./protocol.mjs";

const BATCH = 1000;
const [, , verb, ...rest] = process.argv;
const boss = new PgBoss({ host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE,
  supervise: false, schedule: false, max: 4 });
boss.on("error", (error) => { console.error(error); process.exitCode = 1; });
await boss.start();

if (verb === "install") {
  await boss.createQueue("bench");
} else if (verb === "enqueue") {
  const [recipients, perJob] = rest.map(Number);
  for (let first = 0; first < recipients; first += 50_000) {
    const jobs = [];
    for (let id = first; id < Math.min(first + 50_000, recipients); id += perJob) {
      const size = Math.min(perJob, recipients - id);
      jobs.push({ name: "bench", data: { ids: Array.from({ length: size }, (_, i) => id + i) }, retryDelay: 30 });
    }
    await boss.insert(jobs);
  }
} else {
  const real = rest[0] === "1";
  const pool = new pg.Pool({ max: 1 });
  const gone = new Gone(pool);
  await serve(async () => {
    let handled = 0;
    for (;;) {
      const jobs = await boss.fetch("bench", { batchSize: BATCH, includeMetadata: real });
      if (!jobs.length) break;
      handled += jobs.length;
      const later = [];
      const settled = [];
      for (const job of jobs) {
        const recipient = job.data.ids[0];
        const verdict = real ? outcome(recipient, job.retryCount === 0) : "ok";
        (verdict === "retry" ? later : settled).push(job.id);
        if (verdict === "gone") await gone.add(recipient);
      }
      await boss.complete("bench", settled);
      if (later.length) await boss.fail("bench", later);
    }
    await gone.flush();
    return handled;
  });
  await pool.end();
}
await boss.stop({ graceful: false, close: true, wait: false });
