// The operator's page: campaigns with their ledger, lanes, connections. One look a second, unless held.

import { byId, call, el, number, showLive } from "./common.js";

const EVENTS = {
  HomeworkAssigned: "Travail à faire",
  LessonChanged: "Cours modifié",
  AbsenceRecorded: "Absence",
  GradePublished: "Évaluation",
  Announcement: "Information",
  MessagePosted: "Message",
};
const CHANNELS = { web: "Web", email: "Courriel", apns: "APNs", fcm: "FCM", webpush: "Web Push" };
const REASONS = {
  no_address: "sans adresse", opted_out: "refus", device_dropped: "appareil disparu", address_dropped: "adresse perdue",
  no_longer_addressed: "plus concerné", left: "a quitté l’ENT", read: "déjà lu", expired: "trop tard", not_sent: "non envoyé",
  "apns.Unregistered": "retirée (APNs)", "fcm.UNREGISTERED": "retirée (FCM)",
};
const ORDER = ["web", "email", "apns", "fcm", "webpush"];
const STATES = ["accepted", "held", "suppressed", "failed"];
const SPOKEN = { accepted: "acceptées", held: "retenues", suppressed: "écartées", failed: "en échec", pending: "en attente" };
const PERIOD = 1000;
const WINDOW = 5000;

const total = (value) => (typeof value === "number" ? value : Object.values(value).reduce((sum, each) => sum + each, 0));
const reasons = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1])
  .map(([reason, count]) => `${REASONS[reason] ?? reason} ${number.format(count)}`).join(", ");
const cell = (className, main, detail) => el("td", { class: className }, main, detail ? el("small", {}, detail) : null);

let held = false;
let history = []; // [{at, accepted: Map(channel/provider -> count)}] of the last seconds

// ---------------------------------------------------------------- drawing

/** Make the children of `body` one for each item, keyed, so that what stays keeps its place, focus and selection. */
function rows(body, items, key, draw) {
  const shown = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    const print = JSON.stringify(item);
    let row = shown.get(id);
    shown.delete(id);
    if (row === undefined || row.dataset.print !== print) {
      const drawn = draw(item);
      drawn.dataset.key = id;
      drawn.dataset.print = print;
      if (row === place && row) place = drawn;
      row?.replaceWith(drawn);
      row = drawn;
    }
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const row of shown.values()) row.remove();
}

function campaign(each) {
  return el("tr", {},
    el("th", { scope: "row" }, EVENTS[each.event] ?? each.event, el("small", {}, `n° ${each.campaign}`),
      each.adds_up ? null : el("span", { class: "pill bad" }, "Le compte n’est pas bon")),
    cell("n", number.format(each.planned)),
    cell("n", number.format(each.accepted)),
    cell("n", number.format(each.held)),
    cell("n", number.format(total(each.suppressed)), reasons(each.suppressed)),
    cell("n", number.format(total(each.failed)), reasons(each.failed)),
    cell("n", number.format(each.pending)),
    el("td", {}, el("div", { class: "ways" }, ...inOrder(each.channels).map(way))),
  );
}

/** Channels, or lanes, always in the same order. */
function inOrder(parts) {
  const place = (part) => ORDER.indexOf(part.provider || part.channel);
  return [...parts].sort((a, b) => place(a) - place(b));
}

function way(part) {
  const name = CHANNELS[part.provider || part.channel] ?? part.channel;
  const done = part.planned - part.pending - part.held;
  const share = part.planned === 0 ? 100 : Math.floor((100 * done) / part.planned);
  const spoken = [...STATES, "pending"].filter((state) => total(part[state]) > 0)
    .map((state) => `${number.format(total(part[state]))} ${SPOKEN[state]}`).join(", ");
  const bar = el("span", { class: "bar", role: "img", "aria-label": `${name} : ${spoken || "rien de prévu"}`, title: spoken });
  for (const state of STATES) {
    const piece = el("i", { class: state });
    piece.style.width = `${part.planned === 0 ? 0 : (100 * total(part[state])) / part.planned}%`;
    bar.append(piece);
  }
  return el("div", { class: "way" }, el("span", {}, name), bar, el("span", { class: "share" }, `${share} %`));
}

function lane(each) {
  return el("tr", {},
    el("th", { scope: "row" }, CHANNELS[each.provider || each.channel] ?? each.name, el("small", {}, each.name)),
    cell("n", each.per_second === null ? "sans limite" : number.format(each.per_second)),
    cell("n", each.rate === null ? "–" : number.format(each.rate)),
    cell("n", each.reserved === 0 ? "aucun" : `${number.format(each.reserved)} s`),
    el("td", {}, each.paused > 0
      ? el("span", { class: "pill warn" }, `⏸ En pause, encore ${number.format(each.paused)} s`)
      : el("span", { class: "pill good" }, "✓ Ouverte"),
      each.paused > 0 && each.pause_reason ? el("small", {}, each.pause_reason) : null),
  );
}

function figure(name, value, detail) {
  return el("div", { class: "card" }, el("dt", {}, name), el("dd", {}, value, detail ? el("small", {}, ` ${detail}`) : null));
}

// ---------------------------------------------------------------- looking

/** Sends a second, by lane, over the last few looks. */
function rates(view) {
  const accepted = new Map();
  for (const each of view.campaigns) for (const part of each.channels) {
    const name = `${part.channel}/${part.provider}`;
    accepted.set(name, (accepted.get(name) ?? 0) + part.accepted);
  }
  const at = performance.now();
  history = [...history.filter((look) => at - look.at < WINDOW), { at, accepted }];
  const [first] = history;
  if (at - first.at < PERIOD / 2) return () => null;
  return (name) => Math.max(0, Math.round((1000 * ((accepted.get(name) ?? 0) - (first.accepted.get(name) ?? 0))) / (at - first.at)));
}

function show(view) {
  const { gateway } = view;
  const waiting = view.campaigns.reduce((sum, each) => sum + each.pending, 0);
  byId("figures").replaceChildren(
    figure("Connexions en direct", number.format(gateway.streams.streams), gateway.feed_healthy ? "" : "fil interrompu"),
    figure("Personnes connectées", number.format(gateway.streams.people)),
    figure("Lecteurs lents", number.format(gateway.streams.slow), `${number.format(gateway.streams.pending_bytes)} o en attente`),
    figure("Position du fil", gateway.feed_seq === null ? "–" : number.format(gateway.feed_seq)),
    figure("Livraisons en attente", number.format(waiting)),
  );
  rows(byId("campaigns"), view.campaigns, (each) => each.campaign, campaign);
  byId("no-campaigns").hidden = view.campaigns.length > 0;
  const rate = rates(view);
  rows(byId("lanes"), inOrder(view.lanes).map((each) => ({
    name: each.name, channel: each.channel, provider: each.provider, per_second: each.per_second, pause_reason: each.pause_reason,
    rate: rate(`${each.channel}/${each.provider}`), reserved: Math.round(each.reserved_seconds * 10) / 10, paused: Math.ceil(each.paused_seconds),
  })), (each) => each.name, lane);
}

async function look() {
  if (!held && !document.hidden) {
    try {
      show(await call("/api/operator"));
      showLive("good", "Actualisé chaque seconde");
    } catch (error) {
      showLive("bad", error.message);
    }
  }
  setTimeout(look, PERIOD);
}

byId("hold").addEventListener("click", () => {
  held = !held;
  history = [];
  byId("hold").setAttribute("aria-pressed", String(held));
  showLive(held ? "warn" : "good", held ? "Actualisation suspendue" : "Actualisé chaque seconde");
});
look();
