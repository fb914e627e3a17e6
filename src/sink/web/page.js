// Which view is shown; its address is the fragment: #live, #show=boxes,labels or #events?label=car&event=17.
import * as live from "/live.js";
import * as events from "/events.js";

const hasEvents = document.documentElement.dataset.events === "true";
const [liveLink, eventsLink] = document.querySelectorAll("#views a");
document.getElementById("views").hidden = !hasEvents;

function show() {
  const isEvents = hasEvents && /^#events(\?|$)/.test(location.hash);
  document.getElementById("live-view").hidden = document.getElementById("layers").hidden = isEvents;
  document.getElementById("events-view").hidden = !isEvents;
  for (const [link, isCurrent] of [[liveLink, !isEvents], [eventsLink, isEvents]]) {
    isCurrent ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  // Pictures that are not seen take connections from what is.
  if (isEvents) live.stop(); else live.start();
  isEvents ? events.show(location.hash.slice("#events".length)) : events.hide();
}
addEventListener("hashchange", show);
live.listen(record => hasEvents && events.heard(record));
show();
