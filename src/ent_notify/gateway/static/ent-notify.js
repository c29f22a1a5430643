// ent_notify in the browser: one live stream for all tabs of a reader, resumed without a gap, read marks, Web Push.
//
//   import { EntNotify } from "/v1/client/ent-notify.js";
//   const live = new EntNotify({ reader: "4711", after: page.head, ticket: async () => (await askOurServer()).ticket });
//   live.addEventListener("notification", ({ detail }) => ...);   // {seq, notification, type, category}
//   live.addEventListener("gap", () => ...);                      // something may have been missed: read the inbox again
//   live.start();
//
// Events: "notification"; "conversation" ({conversation, seq, what}: posted, edited, recalled, read or acknowledged; read a
// conversation that is shown again, and once more when the state becomes "live"); "gap"; "sync" (a page of GET /v1/sync: {items, tombstones, cursor, reset}); "read" ({seqs} or
// {upto} from whichever tab, {upto, seqs} from elsewhere); "state" ({state, leads}); "opened" ({n}: a shown push was clicked).
// States: "connecting", "live", "waiting" (for the next try), "refused" (the host gives no ticket), "stopped".

const NAMESPACE = "6f0f3b0a5b7e4b7c9a863d3d0a3c9f11"; // of the ids that pushes carry

const SHOWN = 200; // places whose notifications are remembered

export class EntNotify extends EventTarget {
  #options;
  #name;
  #tab = crypto.randomUUID();
  #channel = null;
  #position; // up to this place of the feed the host knows what there is; null: nothing yet
  #heard; // the last frame of the stream that this tab has heard of, or where it began to listen
  #leads = false; // whether this tab holds the stream, or tries to
  #state = "stopped";
  #ending = null; // AbortController of everything that start() began
  #source = null; // its EventSource
  #wake = () => {}; // ends a pause, or a stream that nobody trusts any more
  #marks = new Map(); // read marks that have not reached the server
  #visible = new Map(); // which tabs are looked at, as the tab that leads knows
  #told = null;
  #label = null; // how the stream is called when we say that somebody looks at it
  #shown = new Map(); // the notification of each of the last places, for what is read elsewhere
  #catching = null;
  #owed = false;

  /**
   * `reader`: whose tabs share the stream (any text; never sent). `ticket()`: resolves to a stream ticket; rejects with
   * an error whose `status` is 401 or 403 when this reader is not signed in any more. `after`: the place up to which the
   * page has read the inbox. `read({seqs} | {upto})`: stores read marks. `sync(cursor)`: one page of what was missed,
   * from `cursor` on (null at first). `presence(visible, stream)`: told when the first tab is looked at and when the last
   * one is not any more, and again with each new stream. `saw(upto)`: told what `seen` was told. All may be left out but `reader` and `ticket`;
   * `headers()` (for example a bearer token) makes `sync`, `read`, `presence` and `saw` ask the API under `api`.
   */
  constructor(options) {
    super();
    const { reader, ticket, headers, api = "/v1" } = options;
    if (!reader || typeof ticket !== "function") throw new TypeError("EntNotify needs `reader` and `ticket`");
    const usual = headers ? {
      sync: (cursor) => syncBy(api, headers, cursor),
      read: (marks) => readBy(api, headers, marks),
      presence: (visible, stream) => stream && postTo(`${api}/presence`, headers, { stream, visible }),
      saw: (upto) => postTo(`${api}/presence/seen`, headers, { upto }),
    } : {};
    this.#options = { stream: `${api}/stream`, first: 500, longest: 30_000, cursor: null, ...usual, ...options };
    this.#name = `ent-notify:${reader}`;
    this.#position = this.#heard = options.after ?? null;
  }

  get state() { return this.#state; }
  /** Whether this tab holds the stream. */
  get leads() { return this.#leads; }
  /** Up to this place of the feed the host knows what there is. */
  get position() { return this.#position; }
  /** Where the next sync begins; to be kept by whoever keeps the entries. */
  get cursor() { return this.#options.cursor; }

  /** The host has read its inbox up to `head`: only what comes later comes as an event. */
  advance(head) { this.#position = Math.max(this.#position ?? 0, head); }

  #listenedTo(seq) {
    this.#heard = Math.max(this.#heard ?? 0, seq);
    this.advance(seq);
  }

  start() {
    if (this.#ending) return this;
    const { signal } = (this.#ending = new AbortController());
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#become("connecting");
    // Another network, or none: the stream may be dead without knowing. It is opened anew when that makes sense.
    for (const change of ["online", "offline"]) addEventListener(change, () => this.#wake(), { signal });
    addEventListener("pagehide", (event) => event.persisted && this.#source?.close(), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.#comeBack(), { signal });
    document.addEventListener("visibilitychange", () => this.#look(), { signal });
    navigator.serviceWorker?.addEventListener("message", ({ data }) => {
      if (data?.kind === "opened") this.#emit("opened", data);
    }, { signal });
    // While a tab lives it holds a lock of its own; whoever holds the common one holds the stream. The browser gives a
    // lock back when its tab ends, however it ends.
    this.#held(`${this.#name}:tab:${this.#tab}`, () => aborted(signal));
    this.#held(this.#name, () => this.#lead(signal));
    this.#say({ kind: "hello" });
    this.#look();
    return this;
  }

  /** Leave: another tab takes the stream over. */
  stop() {
    if (!this.#ending) return;
    this.#ending.abort();
    this.#ending = null;
    this.#leads = false;
    this.#source?.close();
    this.#source = null;
    this.#wake();
    this.#channel.close();
    this.#channel = null;
    this.#become("stopped");
  }

  // -------------------------------------------------------------- reading

  /** Mark entries (`{seq, notification}`, or places alone) as read: in every tab at once, on the server as soon as it can
   * be reached; pushes that are shown for them go away. */
  async markRead(entries) {
    const known = entries.map((entry) => (typeof entry === "number" ? { seq: entry } : entry));
    await this.#mark({ seqs: known.map((entry) => entry.seq) });
    const ids = known.filter((entry) => entry.notification !== undefined).map((entry) => pushId(entry.notification));
    await closeShown(await Promise.all(ids));
  }

  /** Mark everything up to a place as read. */
  async markAllRead(upto) {
    await this.#mark({ upto });
    await closeShown(null);
  }

  async #mark(marks) {
    const detail = { ...marks };
    this.#say({ kind: "read", marks: detail });
    this.#emit("read", detail);
    this.#marks.set(crypto.randomUUID(), detail);
    await this.#store();
  }

  /** Send the read marks that wait; what the network refuses waits on, what the server refuses is raised. */
  async #store() {
    for (const [id, marks] of [...this.#marks]) {
      this.#marks.delete(id);
      try {
        await this.#options.read?.(marks);
      } catch (error) {
        if (error.status) throw error;
        this.#marks.set(id, marks);
      }
    }
  }

  /** Everything up to a place of the feed has been before the reader's eyes: it is not pushed to their phone any more. It
   * stays unread. */
  async seen(upto) { await this.#options.saw?.(upto); }

  /** What was read elsewhere, as the stream says: in every tab, and off the screen. */
  async #readElsewhere(marks) {
    this.#say({ kind: "read", marks });
    this.#emit("read", marks);
    const gone = [...this.#shown].filter(([seq]) => seq <= marks.upto || marks.seqs.includes(seq));
    for (const [seq] of gone) this.#shown.delete(seq);
    if (gone.length > 0) await closeShown(await Promise.all(gone.map(([, notification]) => pushId(notification))));
  }

  // -------------------------------------------------------------- between tabs

  #say(message) { this.#channel?.postMessage({ ...message, tab: this.#tab }); }

  #hear(message) {
    switch (message.kind) {
      case "frame":
        if (!this.#leads) this.#take(message);
        break;
      case "hello":
        if (this.#leads) this.#say({ kind: "here", state: this.#state, heard: this.#heard });
        break;
      case "here": // how far the stream is: what it brought before we listened we have not heard
        if (this.#leads) break;
        if (message.heard !== null) {
          if (this.#position !== null && message.heard > this.#position) this.#missed();
          this.#listenedTo(message.heard);
        }
        this.#become(message.state);
        this.#look();
        break;
      case "read":
        this.#emit("read", message.marks);
        break;
      case "talk":
        this.#emit("conversation", message.talk);
        break;
      case "look":
        if (this.#leads) this.#saw(message.tab, message.visible);
        break;
    }
  }

  /** A frame of the stream, in whichever tab: once, and in order. `before` is where the stream stood. */
  #take({ event, seq, before, data }) {
    if (event === "reload") {
      this.#heard = this.#position = seq; // which may be lower: the feed of another database
      return this.#missed();
    }
    if (this.#heard !== null && seq <= this.#heard) return;
    if (this.#position !== null && before !== null && before > this.#position) this.#missed(); // this tab slept
    const isNew = this.#position === null || seq > this.#position;
    this.#listenedTo(seq);
    this.#shown.set(seq, data.notification);
    if (this.#shown.size > SHOWN) this.#shown.delete(this.#shown.keys().next().value);
    if (isNew) this.#emit("notification", data);
  }

  /** Something may have been missed: say so, and ask for it if we know how. Once for all that is missed meanwhile. */
  #missed() {
    this.#emit("gap", {});
    if (!this.#options.sync) return;
    this.#owed = true;
    this.#catching ??= this.#catchUp().finally(() => { this.#catching = null; });
  }

  /** Bring the host up to date: its "sync" events bring pages until there is no more. */
  async #catchUp() {
    while (this.#owed) {
      this.#owed = false;
      try {
        for (let more = true; more;) {
          const page = await this.#options.sync(this.#options.cursor);
          more = Boolean(page.more) && page.cursor !== this.#options.cursor;
          this.#options.cursor = page.cursor;
          this.#emit("sync", page);
        }
      } catch (error) {
        this.#owed = true; // when the stream is live again
        if (error.status) reportError(error);
        return;
      }
    }
  }

  // -------------------------------------------------------------- the tab that leads

  async #lead(signal) {
    this.#leads = true;
    this.#visible.clear();
    this.#told = null;
    await this.#hold(signal).finally(() => { this.#leads = false; });
  }

  async #hold(signal) {
    let wait = this.#options.first;
    while (!signal.aborted) {
      let ticket;
      try {
        ticket = await this.#options.ticket();
      } catch (error) {
        if (error?.status === 401 || error?.status === 403) return this.#become("refused", true);
      }
      if (signal.aborted) return;
      if (ticket && await this.#listen(ticket)) wait = this.#options.first;
      if (signal.aborted) return;
      this.#become("waiting", true);
      await this.#pause(wait * (0.5 + Math.random())); // so that not everybody comes back at once
      wait = Math.min(wait * 2, this.#options.longest);
    }
  }

  /** Hold a stream to its end; whether it was ever open. After a cut the browser connects again by itself, from the last
   * place and with the session's cookie; only what the server refuses comes back to us. */
  #listen(ticket) {
    const query = new URLSearchParams({ ticket });
    if (this.#position !== null) query.set("after", this.#position);
    const source = (this.#source = new EventSource(`${this.#options.stream}?${query}`, { withCredentials: true }));
    let opened = false;
    return new Promise((resolve) => {
      const end = () => {
        source.close();
        if (this.#source === source) this.#source = null;
        resolve(opened);
      };
      source.onopen = () => {
        opened = true;
        this.#heard ??= this.#position;
        this.#become("live", true);
        this.#store().catch(reportError);
        if (this.#owed) this.#missed();
        this.#look();
      };
      source.onerror = () => {
        this.#label = null;
        this.#become("waiting", true);
        if (source.readyState === EventSource.CLOSED) end();
      };
      source.addEventListener("held", ({ data }) => { // another stream: nobody has been told of it
        this.#label = JSON.parse(data).stream;
        this.#told = null;
        this.#tellPresence();
      });
      source.addEventListener("conversation", ({ data }) => {
        const talk = JSON.parse(data);
        this.#say({ kind: "talk", talk });
        this.#emit("conversation", talk);
      });
      source.addEventListener("read", ({ data }) => this.#readElsewhere(JSON.parse(data)).catch(reportError));
      for (const event of ["notification", "reload"]) {
        source.addEventListener(event, ({ lastEventId, data }) => {
          const frame = { event, seq: Number(lastEventId), before: this.#heard, data: JSON.parse(data) };
          this.#say({ kind: "frame", ...frame });
          this.#take(frame);
        });
      }
      this.#wake = end;
    });
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => { clearTimeout(timer); setTimeout(resolve, Math.random() * this.#options.first); };
    });
  }

  #comeBack() {
    if (this.#source) this.#wake();
    else this.#say({ kind: "hello" });
  }

  #become(state, tell = false) {
    if (tell) this.#say({ kind: "here", state, heard: this.#heard });
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("state", { state, leads: this.#leads });
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  // -------------------------------------------------------------- who is looking

  #look() {
    const visible = document.visibilityState === "visible";
    this.#say({ kind: "look", visible });
    if (this.#leads) this.#saw(this.#tab, visible);
  }

  /** The tab that leads keeps count of who is looking. The lock of a tab comes free when it ends, however it ends. */
  #saw(tab, visible) {
    if (!this.#visible.has(tab) && tab !== this.#tab) {
      this.#held(`${this.#name}:tab:${tab}`, () => {
        this.#visible.delete(tab);
        this.#tellPresence();
      });
    }
    this.#visible.set(tab, visible);
    this.#tellPresence();
  }

  #tellPresence() {
    const anybody = [...this.#visible.values()].some(Boolean);
    if (anybody === this.#told || this.#state !== "live") return;
    this.#told = anybody;
    Promise.resolve(this.#options.presence?.(anybody, this.#label)).catch(() => { this.#told = null; });
  }

  #held(name, work) {
    const { signal } = this.#ending;
    return navigator.locks.request(name, { signal }, work).catch((error) => {
      if (error.name !== "AbortError") throw error;
    });
  }
}

// ---------------------------------------------------------------- Web Push

/**
 * Let this browser receive pushes: ask for permission, start the service worker, subscribe, and hand the subscription to
 * `register(subscription)` (PushSubscription.toJSON()). Call it from a click; again at each visit with `ask: false`, so
 * that a subscription that the browser has renewed is registered too. Resolves to "on", "denied" or "unsupported".
 */
export async function enablePush({ publicKey, register, worker = "/v1/client/sw.js", ask = true }) {
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) return "unsupported";
  const permission = ask ? await Notification.requestPermission() : Notification.permission;
  if (permission !== "granted") return "denied";
  const registration = await active(await navigator.serviceWorker.register(worker));
  const key = bytesOf(publicKey);
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && !sameBytes(subscription.options.applicationServerKey, key)) {
    await subscription.unsubscribe(); // made for another key of ours: nothing that is sent to it would pass
    subscription = null;
  }
  subscription ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  await register(subscription.toJSON());
  return "on";
}

/** A registration, once its worker works (`navigator.serviceWorker.ready` is for pages in its scope, which ours is not). */
async function active(registration) {
  const worker = registration.active ?? registration.installing ?? registration.waiting;
  while (!registration.active) {
    await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
    if (worker.state === "redundant") throw new Error("the service worker could not be installed");
  }
  return registration;
}

/** Signing out: `drop(subscription)` tells the server, then the browser forgets it. */
export async function disablePush({ drop }) {
  for (const registration of await ours()) {
    const subscription = await registration.pushManager.getSubscription();
    if (subscription) {
      await drop(subscription.toJSON());
      await subscription.unsubscribe();
    }
  }
  await closeShown(null);
}

/** Close the pushes that are shown with one of these ids (null: all). */
async function closeShown(ids) {
  for (const registration of await ours()) {
    for (const shown of await registration.getNotifications()) {
      if (ids === null || ids.includes(shown.data?.n)) shown.close();
    }
  }
}

async function ours() {
  const found = await navigator.serviceWorker?.getRegistrations() ?? [];
  return found.filter((each) => new URL(each.active?.scriptURL ?? "x:").pathname.endsWith("/client/sw.js"));
}

/** The id that pushes carry for a notification: a UUID of its number, the same for all who get it. */
export async function pushId(notification) {
  const name = new TextEncoder().encode(`push:${notification}:0`);
  const space = Uint8Array.from(NAMESPACE.match(/../g), (pair) => parseInt(pair, 16));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", new Uint8Array([...space, ...name])));
  digest[6] = (digest[6] & 0x0f) | 0x50;
  digest[8] = (digest[8] & 0x3f) | 0x80;
  const hex = Array.from(digest.slice(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function bytesOf(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}

function sameBytes(buffer, bytes) {
  const other = new Uint8Array(buffer ?? []);
  return other.length === bytes.length && other.every((byte, place) => byte === bytes[place]);
}

// ---------------------------------------------------------------- the API

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, title) {
    super(title);
    this.status = status;
  }
}

async function syncBy(api, headers, cursor) {
  const query = cursor === null ? "" : `?${new URLSearchParams({ cursor })}`;
  return answerOf(await fetch(`${api}/sync${query}`, { headers: await headers() }));
}

async function readBy(api, headers, marks) {
  const path = "upto" in marks ? "read-all" : "read";
  return answerOf(await fetch(`${api}/inbox/${path}`, {
    method: "POST",
    headers: { ...await headers(), "content-type": "application/json" },
    body: JSON.stringify(marks),
  }));
}

async function postTo(address, headers, said) {
  return answerOf(await fetch(address, {
    method: "POST",
    headers: { ...await headers(), "content-type": "application/json" },
    body: JSON.stringify(said),
    keepalive: true, // a page that closes still says so
  }));
}

async function answerOf(response) {
  const value = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, value.title ?? response.statusText);
  return value;
}

const aborted = (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
