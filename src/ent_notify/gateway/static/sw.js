// The service worker of ent_notify: shows a notification for each push, replaces by tag, opens the platform on a click.
//
// A push carries {body, n, category, tag}: a neutral sentence, an opaque id, a category, what it replaces; and {shown: 1}
// if a page had it already. Or it carries {clear: [tag, ...], badge}: these were read elsewhere and are taken away, and so
// many entries are unread. The address that this script is registered with may carry `title` (the platform's name), `icon` and `open` (what a click opens):
// "/v1/client/sw.js?title=Mon%20ENT&open=/messages".

const asked = new URL(self.location.href).searchParams;
const title = asked.get("title") || "Notification";
const icon = asked.get("icon") || undefined;
// Only ever a page of our own.
const open = new URL(asked.get("open") || "/", self.location.origin);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(take(read(event.data))));
self.addEventListener("notificationclick", (event) => event.waitUntil(opened(event.notification)));
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event.oldSubscription)));

function read(data) {
  try {
    return data.json();
  } catch {
    return {}; // a browser asks that something be shown for each push: the title alone says that there is something
  }
}

function take(push) {
  return Array.isArray(push.clear) ? clear(push) : show(push);
}

/** What is shown under these tags has been read elsewhere. */
async function clear({ clear: tags, badge }) {
  for (const tag of tags) {
    for (const shown of await self.registration.getNotifications({ tag: String(tag) })) shown.close();
  }
  if (!self.navigator.setAppBadge || !Number.isInteger(badge)) return;
  // Without an installed app there is no badge to set, and some browsers say so by refusing.
  await (badge > 0 ? self.navigator.setAppBadge(badge) : self.navigator.clearAppBadge()).catch(() => {});
}

async function show({ body = "", n = "", category = "", tag = "", shown = 0 }) {
  const before = tag ? await self.registration.getNotifications({ tag }) : [];
  await self.registration.showNotification(title, {
    body,
    icon,
    tag,
    silent: Boolean(shown), // a page has shown it already: no second sound
    // The same push twice is one alert; another version of what is shown is worth a second one.
    renotify: !shown && before.length > 0 && before[0].data?.n !== n,
    data: { n, category },
  });
}

async function opened(notification) {
  notification.close();
  const { n, category } = notification.data ?? {};
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  for (const page of pages) page.postMessage({ kind: "opened", n, category });
  if (pages.length > 0) await pages[0].focus();
  else if (open.origin === self.location.origin) await self.clients.openWindow(open.href);
}

/** The browser has given the subscription up: make another with the same key. The next visit registers it. */
async function renew(old) {
  const options = old?.options ?? (await self.registration.pushManager.getSubscription())?.options;
  if (options) await self.registration.pushManager.subscribe(options);
}
