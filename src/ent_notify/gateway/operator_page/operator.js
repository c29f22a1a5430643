// The operator page: one look every two seconds, unless held; every act is confirmed with a name and a reason.

import { WORDS } from "./words.js";

const PERIOD = 2000;
const byId = (id) => document.getElementById(id);
let language = new URLSearchParams(location.search).get("lang") ?? sessionStorage.getItem("lang")
  ?? (navigator.language.startsWith("en") ? "en" : "fr");
if (!(language in WORDS)) language = "fr";
let words = WORDS[language];
let key = sessionStorage.getItem("key");
let held = false;
let view = null;
let before = null; // the look before, for rates
let timer = 0;
let explained = null; // the last explanation

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute === "click") node.addEventListener("click", value);
    else node.setAttribute(attribute, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const number = (value) => new Intl.NumberFormat(language).format(value);
const sum = (counts) => Object.values(counts).reduce((total, each) => total + each, 0);
const clock = (iso) => new Date(iso).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = (iso) => new Date(iso).toLocaleString(language, { dateStyle: "short", timeStyle: "short" });
const span = (seconds) => (seconds < 120 ? `${number(Math.round(seconds))} s` : `${number(Math.round(seconds / 60))} min`);
const cell = (text, detail) => el("td", { class: "n" }, text, detail ? el("small", {}, detail) : null);
const reasons = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([why, n]) => `${why} ${number(n)}`).join(", ");

// ---------------------------------------------------------------- speaking with the gateway

async function ask(path, body) {
  const options = { headers: { authorization: `Bearer ${key}` } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error(words.silent);
  }
  const value = await response.json().catch(() => ({}));
  if (response.status === 401) {
    key = null;
    sessionStorage.removeItem("key");
    show();
    throw new Error(words.badKey);
  }
  if (!response.ok) throw new Error(value.detail ?? String(response.status));
  return value;
}

function trouble(error) {
  byId("trouble").textContent = error ? error.message : "";
  byId("trouble").hidden = !error;
}

async function look() {
  clearTimeout(timer);
  if (key === null) return;
  try {
    const next = await ask("/operator/look");
    if (view === null || next.at !== view.at) [before, view] = [view, next];
    else view = next;
    trouble(null);
    show();
  } catch (error) {
    trouble(error);
  }
  if (!held && key !== null) timer = setTimeout(look, PERIOD);
}

// ---------------------------------------------------------------- drawing

/** Replace the children that have changed, by key, so that focus stays where it is. */
function fill(parent, items, draw) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const [id, item] of items) {
    const print = language + JSON.stringify(item);
    let node = old.get(String(id));
    old.delete(String(id));
    if (!node || node.dataset.print !== print) {
      const drawn = draw(item);
      drawn.dataset.key = id;
      drawn.dataset.print = print;
      const focused = node?.contains(document.activeElement);
      if (node === place && node) place = drawn;
      node?.replaceWith(drawn);
      if (focused) drawn.querySelector("button")?.focus();
      node = drawn;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}

function lines(id, items, draw) {
  fill(byId(id), items.length ? items.map((item) => [item.id ?? item.area, item]) : [["none", null]],
    (item) => (item === null ? el("li", { class: "muted" }, words.none) : draw(item)));
}

function campaign(each) {
  const running = each.state === "running";
  const open = each.pending + each.held > 0;
  const button = running && open
    ? el("button", { type: "button", click: () => confirmAct("Pause", each.campaign, {}, { action: "pause", campaign: each.campaign }) }, words.pause)
    : each.state === "paused"
      ? el("button", { type: "button", click: () => confirmAct("Resume", each.campaign, {}, { action: "resume", campaign: each.campaign }) }, words.resume)
      : null;
  button?.setAttribute("aria-label", `${button.textContent} ${each.campaign}`);
  return el("tr", {},
    el("th", { scope: "row" }, `${each.campaign} · ${each.event}`,
      el("small", { class: running ? "" : "warn" }, words.states[each.state] ?? each.state),
      each.adds_up ? null : el("small", { class: "bad" }, words.wrong)),
    cell(number(each.planned)),
    cell(number(each.accepted)),
    cell(number(each.held)),
    cell(number(sum(each.suppressed)), reasons(each.suppressed)),
    cell(number(sum(each.failed)), reasons(each.failed)),
    cell(number(each.pending)),
    el("td", {}, each.ends_at ? day(each.ends_at) : each.state === "paused" ? words.paused : "–"),
    el("td", {}, button ?? "–"),
  );
}

function accepted(look, lane) {
  return look.campaigns.flatMap((each) => each.channels)
    .filter((part) => part.channel === lane.channel && part.provider === lane.provider)
    .reduce((total, part) => total + part.accepted, 0);
}

function rate(lane) {
  if (before === null) return null;
  const seconds = (new Date(view.at) - new Date(before.at)) / 1000;
  return seconds > 0 ? Math.max(0, Math.round((accepted(view, lane) - accepted(before, lane)) / seconds)) : null;
}

function lane({ each, now, queue }) {
  const state = each.paused_until
    ? el("span", { class: "warn" }, words.open(clock(each.paused_until), each.pause_reason))
    : el("span", { class: "good" }, words.closed);
  return el("tr", {},
    el("th", { scope: "row" }, each.name),
    cell(now === null ? "–" : number(now)),
    cell(each.per_second === null ? words.noLimit : number(each.per_second)),
    cell(queue ? number(queue.waiting) : "0"),
    cell(span(queue?.lag_seconds ?? 0)),
    el("td", {}, state, each.failures ? el("small", {}, words.fails(each.failures)) : null),
  );
}

function show() {
  for (const node of document.querySelectorAll("[data-word]")) {
    const text = words[node.dataset.word];
    if (node.textContent !== text) node.textContent = text;
  }
  byId("sections").setAttribute("aria-label", words.sections);
  document.documentElement.lang = language;
  document.title = `${words.title} · ent_notify`;
  byId("language").textContent = words.other;
  byId("language").lang = words.otherCode;
  byId("enter").hidden = key !== null;
  const ready = key !== null && view !== null;
  for (const id of ["house", "hold", "sections"]) byId(id).hidden = !ready;
  if (!ready) {
    byId("time").textContent = byId("state").textContent = "";
    return;
  }
  byId("time").textContent = words.live(clock(view.at));
  showExplained();
  const lag = Math.max(0, ...view.queues.map((queue) => queue.lag_seconds ?? 0));
  const late = sum(view.overdue);
  const figure = (name, value, kind = "") => el("div", { class: "card" }, el("dt", {}, name), el("dd", { class: kind }, value));
  byId("figures").replaceChildren(
    figure(words.connections, number(view.gateway.streams.streams)),
    figure(words.feed, view.gateway.feed_healthy ? words.feedGood : words.feedBad, view.gateway.feed_healthy ? "" : "bad"),
    figure(words.behind, span(lag), lag > 60 ? "warn" : ""),
    figure(words.unplanned, number(view.unplanned)),
    figure(words.overdue, number(late), late ? "bad" : ""),
  );
  fill(byId("campaigns"), view.campaigns.length ? view.campaigns.map((each) => [each.campaign, each]) : [["none", null]],
    (each) => (each === null ? el("tr", {}, el("td", { colspan: "9", class: "muted" }, words.noCampaign)) : campaign(each)));
  fill(byId("lanes"), view.lanes.map((each) => [each.name, {
    each: { ...each, reserved_seconds: 0 }, now: rate(each),
    queue: view.queues.find((queue) => queue.channel === each.channel && queue.provider === each.provider),
  }]), lane);
  lines("freezes", view.freezes, (each) => el("li", {}, words.frozen(each, words[each.tier].toLowerCase(), day(each.since)), " ",
    el("button", { type: "button", "aria-label": `${words.unfreeze} ${each.area}`,
      click: () => confirmAct("Unfreeze", each.area, {}, { action: "unfreeze", area: each.area }) }, words.unfreeze)));
  const due = (each, at) => (new Date(at) < new Date(view.at) ? el("strong", { class: "bad" }, ` ${words.late}`) : null);
  lines("requests", view.requests, (each) => el("li", {}, words.request(each, day(each.deadline)), due(each, each.deadline)));
  lines("holds", view.holds, (each) => el("li", {}, words.holdLine(each, day(each.review_at)), due(each, each.review_at)));
  lines("retention", view.retention, (each) => el("li", {}, words.run(each, number(sum(each.removed)), day(each.planned_at))));
}

function showExplained() {
  fill(byId("explained"), explained === null ? [] : [["one", explained]], (found) => {
    const name = (id) => el("th", { scope: "col" }, words[id]);
    const row = (each) => el("tr", {},
      el("th", { scope: "row" }, [each.channel, each.provider].filter(Boolean).join(" · ")),
      el("td", {}, words.became[each.state] ?? each.state),
      el("td", {}, each.reason ?? "–"),
      el("td", {}, each.until ?? each.at ? day(each.until ?? each.at) : "–"));
    return el("div", {}, el("p", {}, words.explained(found)),
      el("div", { class: "scroll", role: "region", tabindex: "0", "aria-labelledby": "explain-title" },
        el("table", {},
          el("thead", {}, el("tr", {}, name("channel"), name("outcome"), name("why"), name("when"))),
          el("tbody", {}, ...found.deliveries.map(row)))));
  });
}

// ---------------------------------------------------------------- acting

/** Ask for a name and a reason, then act; `what` is the stem of the words. */
function confirmAct(what, subject, detail, body) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = words[`ask${what}`](subject);
  byId("confirm-what").textContent = detail.text ?? words[`what${what}`];
  byId("go").textContent = words[`do${what}`];
  byId("go").className = what === "Pause" || what === "Freeze" ? "danger" : "first";
  byId("by").value = sessionStorage.getItem("by") ?? "";
  byId("reason").value = "";
  byId("confirm-form").onsubmit = async (event) => {
    event.preventDefault();
    const by = byId("by").value.trim();
    sessionStorage.setItem("by", by);
    try {
      const { changed } = await ask("/operator/act", { ...body, by, reason: byId("reason").value.trim() });
      dialog.close();
      await look();
      byId("state").textContent = changed ? words.done : words.unchanged;
    } catch (error) {
      dialog.close();
      trouble(error);
    }
  };
  dialog.showModal();
}

byId("cancel").addEventListener("click", () => byId("confirm").close());
byId("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = byId("key").value.trim();
  sessionStorage.setItem("key", key);
  byId("key").value = "";
  await look();
  byId("content").focus();
});
byId("hold").addEventListener("click", () => {
  held = !held;
  byId("state").textContent = held ? words.stopped : "";
  byId("hold").setAttribute("aria-pressed", String(held));
  show();
  if (!held) look();
});
byId("language").addEventListener("click", () => {
  language = words.otherCode;
  words = WORDS[language];
  sessionStorage.setItem("lang", language);
  show();
});
byId("freeze").addEventListener("submit", (event) => {
  event.preventDefault();
  const area = byId("area").value.trim();
  const tier = byId("tier").value;
  confirmAct("Freeze", area, { text: words.whatFreeze(words[tier].toLowerCase()) }, { action: "freeze", area, tier });
});
byId("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const by = byId("asks").value.trim();
  sessionStorage.setItem("by", by);
  explained = null;
  try {
    explained = await ask("/operator/explain", { notification: Number(byId("notification").value), person: byId("person").value.trim(), by });
    trouble(null);
  } catch (error) {
    trouble(error);
  }
  showExplained();
});

show();
look();
