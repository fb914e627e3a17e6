// Words for events: when, what and where.
const RECORDED_MS = 946_684_800_000; // What begins before 2000 is a position in a recording.
const dayOf = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "long", year: "numeric" });
const timeOf = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const pad = number => String(number).padStart(2, "0");

export const isRecorded = event => event.start_ms < RECORDED_MS;

/// hh:mm:ss since the recording began.
export function position(ms) {
  const seconds = Math.floor(Math.max(ms, 0) / 1000);
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
}

/// The day of an event in this browser's time zone.
export function day(event) {
  if (isRecorded(event)) return "Recordings without a date";
  const at = new Date(event.start_ms), today = new Date();
  const word = at.toDateString() === today.toDateString() ? "Today, " : "";
  return word + dayOf.format(at);
}

export const time = (event, ms = event.start_ms) => isRecorded(event) ? position(ms) : timeOf.format(new Date(ms));
/// When, in one line.
export const moment = event => isRecorded(event) ? `${time(event)} into the recording` : `${day(event)}, ${time(event)}`;
export const seconds = ms => `${(ms / 1000).toFixed(1)} s`;
export const percent = score => `${Math.round(score * 100)} %`;

/// What it is about: the object, or the rule.
export const what = event => event.label ?? event.rule ?? (event.kind === "source" ? "camera" : event.kind);

const KINDS = {
  track: () => "seen", zone: event => `in ${event.zone}`, loiter: event => `stays in ${event.zone}`,
  line: event => `over ${event.zone} ${event.direction ?? ""}`.trim(), area_above: () => "area above its limit",
  area_below: () => "area below its limit", source: () => "lost",
};
export const where = event => (KINDS[event.kind] ?? (() => event.kind))(event);
export const kind = name => ({ track: "object seen", zone: "in a zone", loiter: "stays in a zone", line: "crosses a line", area_above: "area above limit", area_below: "area below limit", source: "camera lost" })[name] ?? name;

/// Adds an element.
export const make = (tag, parent, properties) => {
  const made = Object.assign(document.createElement(tag), properties);
  parent?.append(made);
  return made;
};
