// The events of the store: filters, cards, and which of them is open.
import * as dialog from "/event.js";
import { day, isRecorded, kind, make, percent, time, what, where } from "/text.js";

const FILTERS = ["stream", "label", "zone", "kind", "day", "text"];
const isOneStream = JSON.parse(document.getElementById("names").textContent).length === 1;
const element = id => document.getElementById(id);
const form = element("filters"), days = element("days"), more = element("more"), result = element("result"), renew = element("renew");
/// What is shown: the filters as text, the events so far, where the next page begins, and which list of events counts.
let shown = null, events = [], next = null, round = 0, isShown = false, newOnes = 0;

const wanted = () => new URLSearchParams(location.hash.split("?")[1] ?? "");
const fragment = parameters => "#events" + (`${parameters}` ? "?" + parameters : "");

/// The parameters of the API; a day is one of this browser's time zone.
function query(filters) {
  const parameters = new URLSearchParams();
  for (const name of FILTERS) {
    const value = filters.get(name);
    if (!value) continue;
    if (name !== "day") { parameters.set(name, value); continue; }
    const [year, month, date] = value.split("-").map(Number);
    parameters.set("since", new Date(year, month - 1, date).toISOString());
    parameters.set("until", new Date(year, month - 1, date + 1).toISOString());
  }
  return parameters;
}

async function ask(path, options) {
  const answer = await fetch("/api/v1/" + path, options);
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
  return answer.status === 204 ? null : answer.json();
}

async function fillChoices() {
  const names = await ask("names");
  const words = { stream: names.streams, label: names.labels, zone: names.zones, kind: names.kinds };
  for (const [name, values] of Object.entries(words)) {
    const select = form.elements[name], chosen = wanted().get(name) ?? "";
    select.replaceChildren(new Option("all", ""));
    if (chosen && !values.includes(chosen)) values.push(chosen);
    for (const value of values) select.add(new Option(name === "kind" ? kind(value) : value, value));
    select.value = chosen;
  }
}

/// Shows what the fragment asks for.
export async function show() {
  isShown = true;
  const parameters = wanted(), id = Number(parameters.get("event"));
  const filters = new URLSearchParams(FILTERS.filter(name => parameters.get(name)).map(name => [name, parameters.get(name)]));
  if (filters.toString() !== shown) {
    shown = filters.toString();
    for (const name of FILTERS) form.elements[name].value = filters.get(name) ?? "";
    element("table").href = "/api/v1/events.csv?" + query(filters);
    await load();
  }
  if (!isShown) return;
  if (id) open(id); else dialog.close();
}
export function hide() {
  isShown = false;
  dialog.close();
}

/// The first page, in place of what is there.
async function load() {
  const mine = ++round;
  newOnes = 0;
  renew.hidden = true;
  result.textContent = "Searching …";
  try {
    const [page] = await Promise.all([ask("events?" + query(new URLSearchParams(shown))), fillChoices()]);
    if (mine !== round) return;
    events = [];
    days.replaceChildren();
    add(page);
  } catch (error) {
    if (mine === round) { result.textContent = "That did not work: " + error.message; more.hidden = true; shown = null; }
  }
}

/// The next page, below what is there.
async function loadMore() {
  if (!next) return;
  const mine = round, parameters = query(new URLSearchParams(shown));
  parameters.set("before", next);
  more.disabled = true;
  try {
    const page = await ask("events?" + parameters);
    if (mine !== round) return;
    const first = add(page);
    // The focus goes to what the button brought, as far as no event is open.
    if (!wanted().get("event")) first?.focus();
  } catch (error) {
    // What the page begins after is gone.
    if (error.status === 404) return load();
    result.textContent = "That did not work: " + error.message;
  } finally { more.disabled = false; }
}

/// Adds a page; returns its first card.
function add(page) {
  const cards = page.events.map(addCard);
  events.push(...page.events);
  next = page.next;
  more.hidden = !next;
  tellCount();
  return cards[0];
}
function tellCount() {
  const count = events.length === 1 ? "1 event" : `${events.length} events`;
  result.textContent = events.length === 0 ? "No events" : next ? `The ${count} that are newest` : count;
}

function addCard(event) {
  const name = day(event);
  let section = days.lastElementChild;
  if (section?.dataset.day !== name) {
    section = make("section", days);
    section.dataset.day = name;
    make("h3", section, { textContent: name });
    make("ul", section, { className: "cards" });
  }
  const item = make("li", section.querySelector("ul")), card = make("a", item);
  card.dataset.id = event.id;
  const parameters = new URLSearchParams(shown);
  parameters.set("event", event.id);
  card.href = fragment(parameters);
  fill(card, event);
  return card;
}

function fill(card, event) {
  card.replaceChildren();
  card.className = event.kept ? "kept" : "";
  if (event.has_thumbnail) {
    make("img", card, { className: "thumbnail", src: `/api/v1/events/${event.id}/thumbnail.jpg`, alt: `Picture of ${what(event)}`, loading: "lazy" });
  } else make("span", card, { className: "thumbnail", textContent: "no picture" });
  const told = make("span", card, { className: "told" }), head = make("span", told, { className: "what" });
  make("span", head, { textContent: what(event) });
  if (event.score != null) make("small", head, { textContent: percent(event.score) });
  make("span", told, { textContent: where(event) });
  const at = make("time", make("small", told), { textContent: time(event) });
  if (!isRecorded(event)) at.dateTime = event.start;
  if (!isOneStream) make("small", told, { textContent: event.stream });
  const marks = [event.media_ms != null && "▶ clip", event.kept && "★ kept", !event.ended && "goes on"].filter(Boolean);
  if (marks.length) make("small", told, { textContent: marks.join(" · ") });
}

const cardOf = id => days.querySelector(`a[data-id="${id}"]`);

/// Opens an event that the fragment names.
async function open(id) {
  let event = events.find(of => of.id === id);
  try {
    // As it is now: it may have ended, and have a clip.
    event = await ask("events/" + id);
  } catch (error) {
    if (!event || error.status === 404) { result.textContent = error.message; return go(null); }
  }
  if (Number(wanted().get("event")) !== id || !isShown) return;
  changed(event);
  const at = events.findIndex(of => of.id === id);
  dialog.open(event, { newer: at > 0, older: at >= 0 && (at + 1 < events.length || next !== null) });
}

function changed(event) {
  const at = events.findIndex(of => of.id === event.id);
  if (at >= 0) { events[at] = event; fill(cardOf(event.id), event); }
}

/// Goes to an event, or to none, in place of the one that is open.
function go(id) {
  const parameters = new URLSearchParams(shown ?? "");
  if (id) parameters.set("event", id);
  history.replaceState(null, "", fragment(parameters));
  show();
}

dialog.on({
  async step(id, by) {
    const at = events.findIndex(of => of.id === id);
    if (at < 0) return;
    if (by > 0 && at + 1 === events.length) await loadMore();
    const to = events[at + by];
    if (to) go(to.id);
  },
  async keep(event) {
    const kept = await ask(`events/${event.id}/keep`, { method: event.kept ? "DELETE" : "POST" });
    changed(kept);
    return kept;
  },
  async remove(event) {
    await ask("events/" + event.id, { method: "DELETE" });
    const at = events.findIndex(of => of.id === event.id);
    if (at < 0) return go(null);
    const section = cardOf(event.id).closest("section");
    cardOf(event.id).parentElement.remove();
    if (!section.querySelector("li")) section.remove();
    events.splice(at, 1);
    if (next === event.id) next = events.at(-1)?.id ?? null;
    tellCount();
    go((events[at] ?? events[at - 1])?.id);
  },
  closed(id) {
    if (wanted().get("event")) go(null);
    cardOf(id)?.focus();
  },
});

/// Something happened while the events are shown.
export function heard(record) {
  if (!isShown || record.phase !== "new" && record.kind !== "line") return;
  newOnes++;
  renew.textContent = newOnes === 1 ? "Show 1 new event" : `Show ${newOnes} new events`;
  renew.hidden = false;
}

let typing = 0;
function choose() {
  clearTimeout(typing);
  const parameters = new URLSearchParams();
  for (const name of FILTERS) if (form.elements[name].value) parameters.set(name, form.elements[name].value);
  location.hash = fragment(parameters);
}
form.addEventListener("submit", event => { event.preventDefault(); choose(); });
form.addEventListener("change", choose);
form.addEventListener("reset", () => setTimeout(choose));
form.elements.text.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(choose, 400); });
more.addEventListener("click", loadMore);
renew.addEventListener("click", () => load().then(() => days.querySelector("a")?.focus()));
