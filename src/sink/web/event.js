// One event, in a dialog.
import { kind, make, moment, percent, seconds, what, where } from "/text.js";

const element = id => document.getElementById(id);
const dialog = element("event"), question = element("question"), shown = element("shown"), said = element("said");
const [newer, older, keep] = ["newer", "older", "keep"].map(element);
let event = null, handlers = {};
// What was done to the event before, to be said with the name of the next one.
let done = "";

/// What is done when somebody steps, keeps, deletes or closes.
export const on = given => { handlers = given; };

/// Shows an event; `can` says whether there is a newer and an older one.
export function open(given, can) {
  const isOpen = dialog.open, isSame = isOpen && event?.id === given.id;
  event = given;
  newer.disabled = !can.newer;
  older.disabled = !can.older;
  fill();
  if (isSame) return;
  showPicture();
  said.textContent = isOpen ? `${done} Shown: ${title()}`.trim() : "";
  done = "";
  if (!isOpen) dialog.showModal();
  dialog.scrollTop = 0;
  // A button that cannot be pressed any more gives the focus away.
  if (!isOpen || !dialog.contains(document.activeElement) || document.activeElement.disabled) element("event-title").focus();
}
const title = () => `${what(event)} ${where(event)} · ${moment(event)}`;
// The clip is served if there is one, else the recording.
const isClip = () => event.clip != null && event.media_ms === event.clip_ms;
export function close() {
  if (dialog.open) dialog.close();
}

function fill() {
  element("event-title").textContent = title();
  keep.setAttribute("aria-pressed", event.kept);
  keep.textContent = event.kept ? "★ Kept" : "☆ Keep";
  element("delete").disabled = event.kept;
  element("delete").title = event.kept ? "It is kept: let it go first" : "";
  const path = `/api/v1/events/${event.id}/`, name = `${event.stream}-${event.id}`;
  for (const [id, file, is] of [["download", "clip.mp4", event.media_ms != null], ["picture", "thumbnail.jpg", event.has_thumbnail]]) {
    Object.assign(element(id), { hidden: !is, href: path + file, download: name + file.slice(file.lastIndexOf(".")) });
  }
  element("download").textContent = isClip() ? "Download clip" : "Download recording";
  const at = (file, ms) => file && `${file}, at ${seconds(ms ?? 0)}`;
  const box = event.bbox && event.bbox.map(Math.round);
  const fields = [
    ["Stream", event.stream], ["Kind", kind(event.kind)], ["Rule", event.rule], ["Zone or line", event.zone], ["Direction", event.direction],
    ["Label", event.label], ["Score", event.score != null && percent(event.score)], ["Model", event.model], ...Object.entries(event.attributes ?? {}),
    ["Begins", moment(event)], ["Lasts", seconds(event.end_ms - event.start_ms) + (event.ended ? "" : ", goes on")],
    ["Track", event.track_id != null && `#${event.track_id}`], ["Frame", event.frame], ["Best frame", event.best_frame],
    ["Box there", box && `${box[2]}×${box[3]} pixels at ${box[0]}, ${box[1]}`],
    ["Position", event.latitude != null && `${event.latitude.toFixed(6)}, ${event.longitude?.toFixed(6)}`],
    ["Clip", at(event.clip, event.clip_ms)], ["Recording", at(event.recording, event.recording_ms)], ["Number", event.id],
  ];
  const list = element("fields");
  list.replaceChildren();
  for (const [name, value] of fields) {
    if (value == null || value === false || value === "") continue;
    make("dt", list, { textContent: name });
    make("dd", list, { textContent: value });
  }
}

function showPicture() {
  shown.replaceChildren();
  const path = `/api/v1/events/${event.id}/`;
  const showThumbnail = () => event.has_thumbnail
    ? make("img", shown, { src: path + "thumbnail.jpg", alt: `Picture of ${what(event)}` })
    : make("p", shown, { textContent: "There is no picture." });
  if (event.media_ms == null) return showThumbnail();
  const video = make("video", shown, { controls: true, muted: true, autoplay: true, playsInline: true, preload: "metadata" });
  video.setAttribute("aria-label", `Clip of ${what(event)} ${where(event)}`);
  if (event.has_thumbnail) video.poster = path + "thumbnail.jpg";
  // A clip begins before its event by itself.
  const from = isClip() ? 0 : Math.max(event.media_ms / 1000 - 2, 0);
  video.addEventListener("loadedmetadata", () => { video.currentTime = from; }, { once: true });
  video.addEventListener("error", () => { video.remove(); showThumbnail(); said.textContent = "The clip cannot be played here; download it."; }, { once: true });
  video.src = path + "clip.mp4";
}

async function attempt(work) {
  try { return await work(); } catch (error) { done = ""; said.textContent = "That did not work: " + error.message; }
}

newer.addEventListener("click", () => handlers.step(event.id, -1));
older.addEventListener("click", () => handlers.step(event.id, 1));
keep.addEventListener("click", () => attempt(async () => {
  event = await handlers.keep(event);
  fill();
  said.textContent = event.kept ? "It is kept, however old it gets." : "It is deleted when it is too old.";
}));
element("delete").addEventListener("click", () => {
  const pictures = event.kind === "track" ? " Its picture is deleted, too, also where it was in a zone or crossed a line." : "";
  element("question-text").textContent = `Delete this event for good?${pictures} Clips and recordings stay.`;
  question.returnValue = "no";
  question.showModal();
});
question.addEventListener("close", () => {
  if (question.returnValue !== "yes") return;
  attempt(() => {
    done = "Deleted.";
    return handlers.remove(event);
  });
});
element("close").addEventListener("click", close);
dialog.addEventListener("click", click => { if (click.target === dialog && click.detail && !inside(click)) close(); });
const inside = ({ clientX: x, clientY: y }) => {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return x >= left && x <= right && y >= top && y <= bottom;
};
dialog.addEventListener("close", () => {
  const id = event?.id;
  shown.replaceChildren();
  event = null;
  handlers.closed(id);
});
dialog.addEventListener("keydown", key => {
  // A video moves in time by the same keys.
  if (key.target.matches("video, input, select") || key.altKey || key.ctrlKey || key.metaKey || question.open) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[key.key];
  if (!by || (by < 0 ? newer : older).disabled) return;
  key.preventDefault();
  handlers.step(event.id, by);
});
