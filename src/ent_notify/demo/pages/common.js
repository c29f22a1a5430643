// What both pages share. Text only ever enters the page as text: no markup is built from data.

export const byId = (id) => document.getElementById(id);

/** An element: `el("p", {class: "muted"}, "text", child, ...)`. Attributes that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(category) {
  const known = ["homework", "timetable", "absence", "grade", "announcement", "message"];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${known.includes(category) ? category : "announcement"}`);
  svg.append(use);
  return svg;
}

/** An answer that is no success. `status` 0: no answer at all. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(0, "Le serveur ne répond pas.");
  }
  const value = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, sentence(response.status));
  return value;
}

function sentence(status) {
  if (status === 401) return "Cette session n’est plus connue : choisissez de nouveau une personne.";
  if (status === 404) return "Cet élément n’existe pas, ou n’est pas pour vous.";
  if (status === 429) return "Trop de connexions ouvertes : fermez un onglet.";
  if (status === 503) return "Le service est momentanément indisponible.";
  return `La demande n’a pas abouti (erreur ${status}).`;
}

export function showError(node, error) {
  node.textContent = error === null ? "" : error.message;
  node.hidden = error === null;
}

/** The state of a connection, by a text and by a colour. */
export function showLive(kind, text) {
  byId("live").className = `pill ${kind}`;
  const node = byId("live-text");
  if (node.textContent !== text) node.textContent = text;
}

export const number = new Intl.NumberFormat("fr-FR");
