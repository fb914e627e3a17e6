"""Clicks and types through the Events view: `events_page.py URL PROFILE SCREENSHOTS`, from tests/events_page.sh."""

import datetime
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

from devtools import Browser

url, profile, pictures = sys.argv[1:]
MAX_FIRST_VIEW_BYTES = 100_000
CARDS = "document.querySelectorAll('#days .cards a')"
HASH = "decodeURIComponent(location.hash)"
ACTIVE = "document.activeElement"
# Text on its background: WCAG 2.2, 1.4.3; pictures behind text are black here.
CONTRAST = """(() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [20, 22, 26];
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const hasText = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!hasText || !e.checkVisibility() || e.disabled || e.closest('script, video')) continue;
    const [a, b] = [numbers(getComputedStyle(e).color), behind(e)].map(luminance);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return low;
})()"""
NAMED = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "image", "Date", "dialog", "Video"}


def get(path, method="GET"):
    request = urllib.request.Request(url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def api(query=""):
    """All events that a query wants."""
    events, before = [], ""
    while True:
        page = json.loads(get(f"api/v1/events?limit=500&{query}{before}")[1])
        events += page["events"]
        if page["next"] is None:
            return events
        before = f"&before={page['next']}"


def equal(got, wanted, what):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


def is_accessible(where):
    low = browser.value(CONTRAST)
    assert not low, f"{where}: too little contrast: {low}"
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in NAMED and not node.get("name", {}).get("value")
    ]
    assert not nameless, f"{where}: without a name: {nameless}"
    overflow = browser.value("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{where}: {overflow} pixels too wide"


def tab_to(selector):
    """Presses Tab until the focus is there; it must be seen."""
    for _ in range(200):
        browser.press("Tab")
        if browser.value(f"{ACTIVE}.matches({json.dumps(selector)})"):
            assert browser.value(f"getComputedStyle({ACTIVE}).outlineStyle") != "none", f"{selector}: no focus ring"
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def cards(wanted, what):
    """Waits for the cards of just these events."""
    ids = [event["id"] for event in wanted]
    browser.until(f"JSON.stringify([...{CARDS}].map(c => +c.dataset.id)) === {json.dumps(json.dumps(ids, separators=(',', ':')))}", what)


def is_open(event_id):
    browser.until(f"document.querySelector('#event').open && {HASH}.includes('event={event_id}') && "
                  f"[...document.querySelectorAll('#fields dd')].at(-1)?.textContent === '{event_id}'", f"event {event_id} open")


def count_bytes():
    head = get("")[1].decode()
    files = [part.split('"')[0] for part in head.split('="/')[1:]] + ["live.js", "events.js", "event.js", "text.js"]
    total = len(head.encode()) + sum(len(get(name)[1]) for name in files)
    print(f"first view: {total} bytes in {len(files) + 1} files")
    assert total < MAX_FIRST_VIEW_BYTES


def keyboard():
    everything = api()
    print(f"{len(everything)} events")
    assert len(everything) > 60, "too few for two pages"
    browser.open(url, 1280, 900)
    browser.until("document.querySelector('.state')?.textContent.includes('frames/s')")
    is_accessible("live")
    browser.save(f"{pictures}/live-1280.png")
    tab_to("#views a[href='#events']")
    browser.press("Enter")
    cards(everything[:50], "the first page")
    assert browser.value("!document.querySelector('#streams img').hasAttribute('src')"), "the live picture goes on"
    equal(browser.value("document.querySelector('#result').textContent"), "The 50 events that are newest", "result")
    is_accessible("events")
    browser.save(f"{pictures}/events-1280.png")
    tab_to("#more")
    browser.press("Enter")
    cards(everything[:100], "the second page")
    browser.until(f"{ACTIVE}.dataset.id === '{everything[50]['id']}'", "the focus on the first new card")

    # A filter by the keyboard alone: the first letters choose.
    browser.value("document.querySelector('#views a').focus()")
    tab_to("select[name=label]")
    labels = browser.value("[...document.querySelectorAll('select[name=label] option')].map(o => o.value)")
    while browser.value(f"{ACTIVE}.value") != "person":
        assert labels, "no label person"
        labels.pop()
        browser.press("ArrowDown")
    people = api("label=person")
    cards(people[:50], "people")
    browser.until(f"{HASH} === '#events?label=person'")
    browser.value("location.reload()")
    cards(people[:50], "people again")
    equal(browser.value("document.querySelector('select[name=label]').value"), "person", "the filter after a reload")
    tab_to("input[name=text]")
    browser.type("Crossing PERSON")
    words = api("label=person&text=crossing+person")
    assert 0 < len(words) < len(people)
    cards(words[:50], "words")

    # One of the recording: it has a clip.
    recorded = [event for event in words if event["start_ms"] < 946_684_800_000]
    first, second = recorded[:2]
    assert "media_ms" in first and first["has_thumbnail"]
    while not browser.value(f"!!document.querySelector('[data-id=\"{first['id']}\"]')"):
        browser.click("#more")
        browser.until("!document.querySelector('#more').disabled")
    tab_to(f"[data-id='{first['id']}']")
    browser.press("Enter")
    is_open(first["id"])
    browser.until("(v => v && v.videoWidth > 0 && v.currentTime > .2)(document.querySelector('#shown video'))", "the clip plays")
    length = browser.until("document.querySelector('#shown video').seekable.length && document.querySelector('#shown video').seekable.end(0)")
    assert length > 1
    browser.value("document.querySelector('#shown video').pause()")
    browser.value(f"document.querySelector('#shown video').currentTime = {length * 0.8}")
    browser.until(f"(v => !v.seeking && v.readyState >= 2 && Math.abs(v.currentTime - {length * 0.8}) < .5)(document.querySelector('#shown video'))", "seeking")
    is_accessible("an event")
    browser.save(f"{pictures}/event-1280.png")
    at = words.index(first)
    equal(words[at + 1]["id"], second["id"], "the next one")
    browser.press("ArrowRight")
    is_open(second["id"])
    browser.press("ArrowLeft")
    is_open(first["id"])
    tab_to("#older")
    browser.press("Enter")
    is_open(second["id"])
    equal(browser.value(f"{ACTIVE}.id"), "older", "the focus after a step")

    tab_to("#keep")
    browser.press(" ")
    browser.until("document.querySelector('#keep').getAttribute('aria-pressed') === 'true'")
    assert json.loads(get(f"api/v1/events/{second['id']}")[1])["kept"]
    assert browser.value("document.querySelector('#delete').disabled"), "what is kept can be deleted"
    equal(get(f"api/v1/events/{second['id']}", "DELETE")[0], 409, "what is kept is deleted")
    browser.press(" ")
    browser.until("document.querySelector('#keep').getAttribute('aria-pressed') === 'false'")

    tab_to("#delete")
    browser.press("Enter")
    browser.until("document.querySelector('#question').open")
    is_accessible("the question")
    browser.save(f"{pictures}/question-1280.png")
    browser.press("Escape")
    browser.until("!document.querySelector('#question').open")
    equal(get(f"api/v1/events/{second['id']}")[0], 200, "deleted without an answer")
    browser.press("Enter")
    browser.until("document.querySelector('#question').open")
    tab_to("#question button[value=yes]")
    browser.press("Enter")
    browser.until(f"!document.querySelector('[data-id=\"{second['id']}\"]')")
    equal(get(f"api/v1/events/{second['id']}")[0], 404, "it is still there")
    left = [event for event in words if event["id"] != second["id"]]
    following = (left[at + 1:] or left[at:])[0]
    is_open(following["id"])
    assert browser.value("document.querySelector('#said').textContent").startswith("Deleted.")
    browser.press("Escape")
    browser.until(f"!document.querySelector('#event').open && {ACTIVE}.dataset.id === '{following['id']}'", "back on the card")
    browser.until(f"!{HASH}.includes('event=')")


def mouse():
    """A day, what is not there, a link to one event, and a phone."""
    today = datetime.date.today().isoformat()
    browser.open(f"{url}#events?day={today}&kind=zone", 375, 740, 2)
    # Days are this browser's, which is in the same zone.
    of_day = [event for event in api("kind=zone&since=today") if event["kind"] == "zone"]
    assert of_day
    cards(of_day[:50], "today's stays")
    assert browser.value("document.querySelector('#days h3').textContent").startswith("Today, ")
    is_accessible("events on a phone")
    browser.save(f"{pictures}/events-375.png")
    browser.click("#filters button[type=reset]")
    everything = api()
    cards(everything[:50], "all")
    browser.click("#views a[href='#live']")
    browser.until("document.querySelector('#streams img').naturalWidth > 0 && !document.querySelector('#live-view').hidden", "live again")
    is_accessible("live on a phone")
    browser.save(f"{pictures}/live-375.png")

    recorded = [event for event in everything if "media_ms" in event]
    browser.open(f"{url}#events?label=car&event={recorded[0]['id']}", 375, 740, 2)
    is_open(recorded[0]["id"])
    browser.until("document.querySelector('#shown video')?.readyState >= 2")
    is_accessible("an event on a phone")
    browser.save(f"{pictures}/event-375.png")
    browser.click("#close")
    browser.until("!document.querySelector('#event').open")
    cars = api("label=car")
    cards(cars[:50], "cars behind it")
    browser.click("#days .cards a")
    is_open(cars[0]["id"])
    browser.click("#older")
    is_open(cars[1]["id"])
    browser.click("#delete")
    browser.until("document.querySelector('#question').open")
    browser.click("#question button[value=yes]")
    is_open(cars[2]["id"])
    equal(get(f"api/v1/events/{cars[1]['id']}")[0], 404, "it is still there")

    browser.open(f"{url}#events?text=unicorn", 375, 740, 2)
    browser.until("document.querySelector('#result').textContent === 'No events'")
    browser.open(f"{url}#events?kind=unicorn", 375, 740, 2)
    browser.until("document.querySelector('#result').textContent.startsWith('That did not work: kind `unicorn`')")
    browser.open(f"{url}#events?event=4000000", 375, 740, 2)
    browser.until("document.querySelector('#result').textContent === 'there is no event 4000000'")


browser = Browser(profile)
try:
    count_bytes()
    keyboard()
    mouse()
    assert not browser.faults, f"the page complains: {browser.faults}"
except BaseException:
    if browser.session:
        browser.save(f"{pictures}/failed.png")
        print("the page complains of", browser.faults, file=sys.stderr)
    raise
finally:
    browser.close()
print("the Events view works")
