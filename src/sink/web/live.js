// The live pictures and the last events.
import { make, position } from "/text.js";

const names = JSON.parse(document.getElementById("names").textContent);
const list = document.getElementById("events"), grid = document.getElementById("streams");
const toggles = [...document.querySelectorAll("#layers input")];
const query = name => "stream=" + encodeURIComponent(name) + "&" + show();
const show = () => "show=" + toggles.filter(t => t.checked).map(t => t.value).join(",");
// A browser opens about six connections to a server: more streams take turns at single pictures.
const isLive = names.length <= 4;
// Counts how often the view was entered: what began in an earlier visit ends.
let visit = 0, isShown = false;

const streams = new Map(names.map(name => {
  const figure = make("figure", grid), caption = make("figcaption", figure);
  make("h2", caption, { textContent: name });
  const state = make("span", caption, { className: "state", textContent: "connecting" });
  const large = make("button", caption, { textContent: "large", hidden: names.length === 1 });
  const snapshot = make("button", caption, { textContent: "snapshot" });
  const picture = make("img", figure, { alt: "the live picture of " + name });
  const resize = () => large.setAttribute("aria-pressed", figure.classList.toggle("large"));
  large.setAttribute("aria-pressed", "false");
  large.addEventListener("click", resize);
  picture.addEventListener("click", resize);
  picture.addEventListener("error", () => setTimeout(() => isLive && isShown && watch(name), 2000));
  snapshot.addEventListener("click", () => save(name));
  return [name, { picture, state, frames: [], ages: [] }];
}));
if (names.length === 1) { grid.className = "one"; document.title = names[0] + " - MobiLens"; }

const watch = name => { streams.get(name).picture.src = "/live.mjpeg?" + query(name); };
async function poll(name) {
  const { picture } = streams.get(name), mine = visit;
  while (isShown && mine === visit) {
    try {
      const answer = await fetch("/snapshot.jpg?" + query(name));
      if (!answer.ok) throw answer.status;
      const last = picture.src;
      picture.src = URL.createObjectURL(await answer.blob());
      // It is seen before the next one takes its place.
      await picture.decode();
      URL.revokeObjectURL(last);
    } catch { await new Promise(done => setTimeout(done, 2000)); }
  }
}
async function save(name) {
  const answer = await fetch("/snapshot.jpg?" + query(name));
  if (!answer.ok) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name + "-" + new Date().toISOString().replace(/[:.]/g, "-") + ".jpg";
  link.click();
  URL.revokeObjectURL(link.href);
}

export function start() {
  // The choice is kept in the address, to be bookmarked.
  const wanted = location.hash.startsWith("#show=") && location.hash.slice(6).split(",");
  if (wanted) toggles.forEach(t => { t.checked = wanted.includes(t.value); });
  if (isShown) return wanted && isLive && names.forEach(watch);
  isShown = true;
  visit++;
  names.forEach(isLive ? watch : poll);
}
export function stop() {
  isShown = false;
  if (isLive) streams.forEach(({ picture }) => picture.removeAttribute("src"));
}
toggles.forEach(t => t.addEventListener("change", () => {
  history.replaceState(null, "", "#" + show());
  if (isLive) names.forEach(watch);
}));

function tell(event) {
  const item = document.createElement("li"), note = document.createElement("small");
  item.className = event.kind + " " + event.phase;
  const what = [event.label, event.track_id && "#" + event.track_id].filter(Boolean).join(" ");
  const where = names.length > 1 ? event.stream + ", " : "";
  const how = event.direction || { new: "begins", update: "goes on", end: "ends" }[event.phase];
  item.textContent = `${where}${event.name}: ${what} ${how} `;
  const counts = Object.entries(event.counts || {}).map(([k, v]) => `${k} ${v}`).join(", ");
  note.textContent = [position(event.pts_ms), event.duration_ms && (event.duration_ms / 1000).toFixed(1) + " s", counts].filter(Boolean).join(" · ");
  item.append(note);
  list.prepend(item);
  while (list.children.length > 50) list.lastChild.remove();
}

/// Follows the records of all streams, and gives events to `heard`.
export function listen(heard) {
  const source = new EventSource("/events");
  // The first records are those of before.
  const since = performance.now();
  source.onmessage = message => {
    const record = JSON.parse(message.data), stream = streams.get(record.stream);
    if (!stream) return;
    const tellState = (text, isLost) => { stream.state.textContent = text; stream.state.className = isLost ? "state lost" : "state"; };
    if (record.type === "event") {
      if (record.kind === "source" && record.name === "lost") tellState("lost", true);
      if (performance.now() - since > 2000) heard(record);
      return tell(record);
    }
    if (record.type === "end") return tellState("ended: " + record.reason, true);
    if (record.type !== "frame") return;
    const now = performance.now();
    stream.frames = [...stream.frames.filter(t => now - t < 2000), now];
    if (record.timings) stream.ages = [...stream.ages.slice(-29), record.timings.end_to_end_ms];
    const age = [...stream.ages].sort((a, b) => a - b)[stream.ages.length >> 1];
    tellState(`${(stream.frames.length / 2).toFixed(1)} frames/s` + (age ? `, ${age.toFixed(0)} ms` : ""));
  };
  source.onerror = () => {
    for (const { state } of streams.values()) { state.textContent = "lost the connection"; state.className = "state lost"; }
    list.replaceChildren();
  };
}
