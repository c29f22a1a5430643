// A person's page: choose who to be, read the inbox, hear what is new, answer a conversation.

import { EntNotify, enablePush } from "/v1/client/ent-notify.js";
import { byId, call, el, icon, showError, showLive } from "./common.js";

const CATEGORIES = {
  homework: "Travail à faire",
  timetable: "Emploi du temps",
  absence: "Absence",
  grade: "Évaluation",
  announcement: "Information",
  message: "Message",
};
const PROFILES = { pupil: "Élève", guardian: "Responsable légal", teacher: "Enseignant", staff: "Personnel" };
const timeOnly = new Intl.DateTimeFormat("fr-FR", { hour: "2-digit", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat("fr-FR", { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const wholeDate = new Intl.DateTimeFormat("fr-FR", { dateStyle: "full", timeStyle: "short" });

let person = null; // {id, name, profile}
const entries = new Map(); // seq -> entry
let live = null; // the stream that this person's tabs share
let pushKey = null; // what this browser subscribes to pushes with, if there are any
let talkId = null;
const pageTitle = document.title;

// ---------------------------------------------------------------- choosing

let asked = 0;
async function showPeople() {
  const mine = ++asked;
  const profile = new FormData(byId("chooser-form")).get("profile");
  const query = new URLSearchParams({ profile, q: byId("q").value });
  try {
    const { people } = await call(`/api/people?${query}`);
    if (mine !== asked) return; // a later question has been asked
    byId("people").replaceChildren(...people.map((each) => el("li", {}, el(
      "button", { type: "button", onclick: () => enter(each.id) },
      el("span", { class: "avatar", "aria-hidden": "true" }, initials(each.name)), el("span", {}, each.name),
    ))));
    byId("people-status").textContent =
      people.length === 0 ? "Personne ne porte ce nom." : `${people.length} personnes proposées.`;
    showError(byId("chooser-error"), people.length === 0 ? new Error("Personne ne porte ce nom.") : null);
  } catch (error) {
    showError(byId("chooser-error"), error);
  }
}

function initials(name) {
  return name.split(/[\s-]+/).slice(0, 2).map((word) => word.slice(0, 1)).join("").toUpperCase();
}

async function enter(id) {
  try {
    const answer = await call("/api/enter", { person: id });
    person = answer.person;
    history.replaceState(null, "", `#${encodeURIComponent(id)}`);
    byId("who-name").textContent = person.name;
    byId("who-initials").textContent = initials(person.name);
    byId("who-profile").textContent = PROFILES[person.profile];
    byId("samples").replaceChildren(...answer.samples.map((sample) => el(
      "button", { class: "button", type: "button", onclick: (event) => publish(sample.id, event.currentTarget) }, sample.label,
    )));
    live?.stop();
    live = null;
    forget();
    const { head } = await readInbox();
    show(true);
    byId("inbox-title").focus();
    listen(head);
  } catch (error) {
    show(false);
    showError(byId("chooser-error"), error);
  }
}

function leave() {
  live?.stop();
  live = person = talkId = null;
  history.replaceState(null, "", "/");
  document.title = pageTitle;
  byId("talk").hidden = true;
  show(false);
  byId("q").focus();
}

function show(entered) {
  byId("home").hidden = byId("who").hidden = !entered;
  byId("chooser").hidden = entered;
  if (!entered) showPeople();
}

// ---------------------------------------------------------------- the inbox

async function readInbox(before = null) {
  const query = new URLSearchParams({ person: person.id });
  if (before !== null) query.set("before", before);
  const page = await call(`/api/inbox?${query}`);
  const fresh = page.entries.filter((entry) => !entries.has(entry.seq));
  // More was missed than a page holds: what is older would stand below a hole.
  if (before === null && page.more && fresh.length === page.entries.length) forget();
  for (const entry of page.entries) {
    const known = entries.get(entry.seq);
    // Rows hold on to their entry; and what was marked while this page was under way stays marked.
    if (known) known.read ||= entry.read;
    else entries.set(entry.seq, entry);
  }
  live?.advance(page.head);
  if (before !== null || entries.size === page.entries.length) byId("more-row").hidden = !page.more;
  render();
  return { head: page.head, fresh };
}

function forget() {
  entries.clear();
  byId("entries").replaceChildren();
}

function render() {
  const list = byId("entries");
  const shown = new Map([...list.children].map((row) => [Number(row.dataset.seq), row]));
  let place = list.firstElementChild;
  for (const entry of [...entries.values()].sort((a, b) => b.seq - a.seq)) {
    const row = shown.get(entry.seq) ?? rowOf(entry);
    shown.delete(entry.seq);
    update(row, entry);
    if (row === place) place = place.nextElementSibling;
    else list.insertBefore(row, place);
  }
  for (const row of shown.values()) row.remove();
  const unread = [...entries.values()].filter((entry) => !entry.read).length;
  const capped = unread > 99 ? "99+" : String(unread);
  byId("unread-number").textContent = capped;
  byId("unread").classList.toggle("none", unread === 0);
  byId("read-all").disabled = unread === 0;
  byId("empty").hidden = entries.size > 0;
  document.title = unread > 0 ? `(${capped}) ${pageTitle}` : pageTitle;
}

function rowOf(entry) {
  const when = new Date(entry.published_at);
  const today = when.toDateString() === new Date().toDateString();
  return el("li", { "data-seq": entry.seq }, el("article", { class: "entry", "aria-labelledby": `title-${entry.seq}` },
    el("span", { class: "tile", "aria-hidden": "true" }, icon(entry.category)),
    el("div", {},
      el("p", { class: "meta" },
        el("span", {}, CATEGORIES[entry.category] ?? "Notification"),
        entry.children.length ? el("span", { class: "pill line" }, `Concerne ${list(entry.children)}`) : null,
        el("span", { class: "pill accent state" }, "Non lu"),
        el("time", { datetime: entry.published_at, title: wholeDate.format(when) }, (today ? timeOnly : dayAndTime).format(when)),
      ),
      el("h3", { id: `title-${entry.seq}`, tabindex: "-1" }, entry.headline),
      el("div", { class: "actions" },
        entry.conversation === null ? null : el("button", {
          class: "button quiet", type: "button", "aria-describedby": `title-${entry.seq}`, onclick: () => openTalk(entry),
        }, "Ouvrir la conversation"),
        el("button", {
          class: "button quiet mark", type: "button", "aria-describedby": `title-${entry.seq}`, onclick: () => markRead(entry),
        }, "Marquer comme lu"),
      ),
    ),
  ));
}

function update(row, entry) {
  row.firstElementChild.classList.toggle("unread", !entry.read);
  row.querySelector(".state").hidden = entry.read;
  row.querySelector(".mark").hidden = entry.read;
}

const list = (names) => new Intl.ListFormat("fr-FR").format(names);

async function markRead(entry) {
  await attempt(async () => {
    await live.markRead([entry]);
    // The button that had the focus is gone: keep the place.
    document.getElementById(`title-${entry.seq}`)?.focus();
  });
}

async function markAllRead() {
  await attempt(async () => {
    await live.markAllRead(Math.max(0, ...entries.keys()));
    byId("inbox-title").focus();
  });
}

async function attempt(action) {
  try {
    showError(byId("home-error"), null);
    await action();
  } catch (error) {
    if (error.status === 401 && person) return enter(person.id); // the server has forgotten the session
    showError(byId(person ? "home-error" : "chooser-error"), error);
  }
}

// ---------------------------------------------------------------- live

const STATES = { live: ["good", "En direct"], connecting: ["warn", "Connexion…"], waiting: ["warn", "Reconnexion…"] };

/** Listen from what the inbox has brought on, together with this person's other tabs. */
function listen(head) {
  const { id } = person;
  live = new EntNotify({
    reader: id,
    after: head,
    ticket: async () => (await call("/api/ticket", { person: id })).ticket,
    read: (marks) => call("/api/read", { person: id, ...marks }),
  });
  live.addEventListener("state", ({ detail: { state } }) => {
    if (state in STATES) showLive(...STATES[state]);
    if (state === "refused") enter(id);
  });
  live.addEventListener("notification", hear);
  live.addEventListener("gap", hear);
  live.addEventListener("read", ({ detail: { seqs, upto } }) => {
    for (const entry of entries.values()) entry.read ||= upto === undefined ? seqs.includes(entry.seq) : entry.seq <= upto;
    render();
  });
  live.start();
}

let hearing = null;
/** Read the inbox, once for all that arrives while it is being read, and say what is new. */
function hear() {
  if (hearing) { hearing.again = true; return; }
  hearing = { again: true };
  (async () => {
    const mine = hearing;
    while (mine.again && person) {
      mine.again = false;
      await attempt(async () => {
        const { fresh } = await readInbox();
        for (const entry of fresh) byId("entries").querySelector(`[data-seq="${entry.seq}"] .entry`)?.classList.add("fresh");
        announce(fresh);
        if (talkId !== null && fresh.some((entry) => entry.conversation === talkId)) await readTalk();
      });
    }
    hearing = null;
  })();
}

function announce(fresh) {
  if (fresh.length === 0) return;
  byId("announcer").textContent = fresh.length === 1
    ? `Nouvelle notification : ${fresh[0].headline}`
    : `${fresh.length} nouvelles notifications`;
}

async function publish(sample, button) {
  button.disabled = true;
  await attempt(() => call("/api/publish", { person: person.id, sample }));
  button.disabled = false;
  button.focus();
}

// ---------------------------------------------------------------- pushes to this browser

async function offerPush() {
  if (!("serviceWorker" in navigator)) return;
  pushKey = (await call("/api/push")).key;
  byId("push").hidden = pushKey === null;
}

async function takePush() {
  await attempt(async () => {
    const answer = await enablePush({
      publicKey: pushKey,
      register: (subscription) => call("/api/device", { person: person.id, subscription }),
      worker: `/v1/client/sw.js?${new URLSearchParams({ title: document.title.replace(/^\(.*\) /, ""), icon: "/static/icon.svg" })}`,
    });
    byId("announcer").textContent = byId("push").textContent =
      answer === "on" ? "Ce navigateur reçoit les notifications" : "Ce navigateur refuse les notifications";
    byId("push").disabled = answer === "on";
  });
}

// ---------------------------------------------------------------- a conversation

async function openTalk(entry) {
  talkId = entry.conversation;
  await attempt(async () => {
    await readTalk();
    byId("talk").hidden = false;
    byId("talk-title").focus();
    if (!entry.read) await live.markRead([entry]);
  });
}

async function readTalk() {
  const asked = talkId;
  const talk = await call(`/api/conversation/${asked}?${new URLSearchParams({ person: person.id })}`);
  if (talkId !== asked) return;
  byId("talk-title").textContent = talk.subject;
  byId("messages").replaceChildren(...talk.messages.map((message) => el("li", { class: message.mine ? "mine" : null },
    el("p", { class: "by" }, `${message.mine ? "Vous" : message.author}, ${dayAndTime.format(new Date(message.posted_at))}`),
    el("p", { class: "bubble" }, message.body),
  )));
  byId("messages").scrollTop = byId("messages").scrollHeight;
}

async function reply(event) {
  event.preventDefault();
  const body = byId("reply").value.trim();
  if (!body) return;
  await attempt(async () => {
    await call("/api/post", { person: person.id, conversation: talkId, body });
    byId("reply").value = "";
    await readTalk();
    byId("announcer").textContent = "Message envoyé.";
    byId("reply").focus();
  });
}

function closeTalk() {
  talkId = null;
  byId("talk").hidden = true;
  byId("inbox-title").focus();
}

// ---------------------------------------------------------------- the page

let typing = 0;
byId("q").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(showPeople, 200); });
byId("chooser-form").addEventListener("change", (event) => { if (event.target.name === "profile") showPeople(); });
byId("chooser-form").addEventListener("submit", (event) => { event.preventDefault(); showPeople(); });
byId("leave").addEventListener("click", leave);
byId("read-all").addEventListener("click", markAllRead);
byId("more").addEventListener("click", () => attempt(() => readInbox(Math.min(...entries.keys()))));
byId("talk-form").addEventListener("submit", reply);
byId("talk-close").addEventListener("click", closeTalk);
byId("push").addEventListener("click", takePush);
offerPush();

const known = decodeURIComponent(location.hash.slice(1));
if (known) enter(known);
else show(false);
