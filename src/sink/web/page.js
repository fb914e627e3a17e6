"use strict";
const names = JSON.parse(document.getElementById("names").textContent);
const list = document.getElementById("events"), toggles = [...document.querySelectorAll("nav input")];
const grid = document.getElementById("streams");
const make = (tag, parent, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
const query = name => "stream=" + encodeURIComponent(name) + "&" + show();
const show = () => "show=" + toggles.filter(t => t.checked).map(t => t.value).join(",");
// A browser opens about six connections to a server: more streams take turns at single pictures.
const isLive = names.length <= 4;
const streams = new Map(names.map(name => {
  const figure = make("figure", grid), caption = make("figcaption", figure);
  make("h1", caption, { textContent: name });
  const state = make("span", caption, { className: "state", textContent: "connecting" });
  const snapshot = make("button", caption, { textContent: "snapshot" });
  const picture = make("img", figure, { alt: "the live picture of " + name });
  picture.addEventListener("click", () => figure.classList.toggle("large"));
  snapshot.addEventListener("click", () => save(name));
  return [name, { picture, state, frames: [], ages: [] }];
}));
if (names.length === 1) { grid.className = "one"; document.title = names[0] + " - MobiLens"; }
const watch = name => { streams.get(name).picture.src = "/live.mjpeg?" + query(name); };
async function poll(name) {
  const { picture } = streams.get(name);
  for (;;) {
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
// The choice is kept in the address, to be bookmarked.
const wanted = location.hash.startsWith("#show=") && location.hash.slice(6).split(",");
if (wanted) toggles.forEach(t => { t.checked = wanted.includes(t.value); });
toggles.forEach(t => t.addEventListener("change", () => {
  history.replaceState(null, "", "#" + show());
  if (isLive) names.forEach(watch);
}));
for (const name of names) {
  if (isLive) streams.get(name).picture.addEventListener("error", () => setTimeout(watch, 2000, name));
  (isLive ? watch : poll)(name);
}
const clock = ms => new Date(ms).toISOString().substring(11, 19);
function tell(event) {
  const item = document.createElement("li"), note = document.createElement("small");
  item.className = event.kind + " " + event.phase;
  const what = [event.label, event.track_id && "#" + event.track_id].filter(Boolean).join(" ");
  const where = names.length > 1 ? event.stream + ", " : "";
  const how = event.direction || { new: "begins", update: "goes on", end: "ends" }[event.phase];
  item.textContent = `${where}${event.name}: ${what} ${how} `;
  const counts = Object.entries(event.counts || {}).map(([k, v]) => `${k} ${v}`).join(", ");
  note.textContent = [clock(event.pts_ms), event.duration_ms && (event.duration_ms / 1000).toFixed(1) + " s", counts].filter(Boolean).join(" · ");
  item.append(note);
  list.prepend(item);
  while (list.children.length > 50) list.lastChild.remove();
}
function listen() {
  const source = new EventSource("/events");
  source.onmessage = message => {
    const record = JSON.parse(message.data), stream = streams.get(record.stream);
    if (!stream) return;
    const tellState = (text, isLost) => { stream.state.textContent = text; stream.state.className = isLost ? "state lost" : "state"; };
    if (record.type === "event") {
      if (record.kind === "source" && record.name === "lost") tellState("lost", true);
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
listen();
