// The worker's side of the protocol (see benchmarks/peers/base.py), and the outcomes by recipient.
import { createInterface } from "node:readline";

const RETRIED_PERCENT = 5;
const GONE_PERCENT = 1;

/** "retry", "gone" or "ok": what the provider would say of this recipient at this try. */
export function outcome(recipient, first) {
  const place = recipient % 100;
  if (first && place < RETRIED_PERCENT) return "retry";
  return place >= RETRIED_PERCENT && place < RETRIED_PERCENT + GONE_PERCENT ? "gone" : "ok";
}

/** Prints "ready"; for each line "go", awaits drain() and prints "done N"; resolves at end of file. */
export async function serve(drain) {
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    if (line !== "go") throw new Error(`expected go, read ${line}`);
    console.log(`done ${await drain()}`);
  }
}

/** Gathers recipients that are gone, and notes them by one INSERT per thousand. */
export class Gone {
  constructor(pool) {
    this.pool = pool;
    this.recipients = [];
  }
  add(recipient) {
    this.recipients.push(recipient);
    return this.recipients.length >= 1000 ? this.flush() : undefined;
  }
  async flush() {
    const full = this.recipients.splice(0);
    if (full.length) {
      await this.pool.query("insert into bench_gone select unnest($1::int[])", [full]);
    }
  }
}
