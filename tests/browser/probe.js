// A host's page at its smallest: keeps what the client tells it, for the test to look at.
import { EntNotify, pushId } from "/v1/client/ent-notify.js";

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  if (!response.ok) throw Object.assign(new Error(path), { status: response.status });
  return response.json();
}

const person = location.hash.slice(1);
await post("/api/enter", { person });
const { head } = await (await fetch(`/api/inbox?${new URLSearchParams({ person })}`)).json();
const probe = { heard: [], states: [], reads: [], gaps: 0, pages: [], presence: [], tickets: 0, pushId };
probe.live = new EntNotify({
  reader: person,
  after: head,
  ticket: async () => { probe.tickets += 1; return (await post("/api/ticket", { person })).ticket; },
  read: (marks) => post("/api/read", { person, ...marks }),
  sync: async (cursor) => {
    const asked = Number(cursor ?? 0);
    probe.pages.push(asked);
    return { items: [asked], tombstones: [], reset: asked === 0, cursor: String(asked + 1), more: asked % 3 !== 2 };
  },
  presence: async (visible) => { probe.presence.push(visible); },
});
probe.live.addEventListener("notification", ({ detail }) => probe.heard.push(detail.seq));
probe.live.addEventListener("state", ({ detail }) => probe.states.push(detail.state));
probe.live.addEventListener("read", ({ detail }) => probe.reads.push(detail));
probe.live.addEventListener("gap", () => { probe.gaps += 1; });
probe.live.start();
window.probe = probe;
