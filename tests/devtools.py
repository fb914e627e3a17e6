"""A headless Chromium, driven over its DevTools protocol on two pipes; nothing but Python's own library."""

import base64
import json
import os
import select
import subprocess
import time

PATIENCE_S = 120
KEYS = {
    "Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " "), "ArrowLeft": (37, ""), "ArrowRight": (39, ""),
    "ArrowDown": (40, ""), "Backspace": (8, ""),
}


class Browser:
    def __init__(self, profile, program="chromium"):
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
            "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "--remote-debugging-pipe",
        ]

        def pipes():
            # Chromium reads 3 and writes 4.
            os.dup2(commands, 103), os.dup2(answers, 104)
            os.dup2(103, 3), os.dup2(104, 4)

        with open(os.devnull, "w") as nowhere:
            self.process = subprocess.Popen(
                [program, *options, "about:blank"], stdout=nowhere, stderr=nowhere, preexec_fn=pipes, pass_fds=(3, 4)
            )
        os.close(commands), os.close(answers)
        self.serial, self.session, self.target, self.buffer, self.faults = 0, {}, None, b"", []

    def _message(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.answers], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError("chromium does not answer")
            piece = os.read(self.answers, 1 << 20)
            if not piece:
                raise EOFError("chromium ended")
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        """One command and its result."""
        self.serial += 1
        message = {"id": self.serial, "method": method, "params": parameters, **self.session}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._message(deadline)
            self._note(answer)
            if answer.get("id") == self.serial:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _note(self, message):
        """Keeps what a page complains of: exceptions, and what its policy blocks."""
        kind, told = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif kind == "Log.entryAdded" and told["entry"]["level"] == "error" and told["entry"]["source"] != "network":
            self.faults.append(told["entry"]["text"])

    def open(self, url, width, height, scale=1):
        """Opens a page in place of the one that is open, whose connections would be missing here."""
        last, self.session = self.target, {}
        self.target = self.call("Target.createTarget", url="about:blank")["targetId"]
        if last:
            self.call("Target.closeTarget", targetId=last)
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]}
        for domain in ["Runtime", "Log", "Page"]:
            self.call(f"{domain}.enable")
        self.resize(width, height, scale)
        self.call("Page.navigate", url=url)
        self.until("location.href !== 'about:blank' && document.readyState !== 'loading'")

    def resize(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def value(self, expression):
        """The value of a JavaScript expression; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails'].get('exception', {}).get('description')}")
        return found["result"].get("value")

    def until(self, expression, what=None):
        """Waits until an expression is true; returns its value."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            value = self.value(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE_S} s: {what or expression}")
            time.sleep(0.05)

    def press(self, key):
        code, text = KEYS[key]
        common = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def click(self, selector):
        """Clicks the middle of an element with the mouse."""
        x, y = self.value(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2] }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def save(self, path, **how):
        shot = self.call("Page.captureScreenshot", **{"format": "png", **how})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def close(self):
        self.session = {}
        try:
            self.call("Browser.close")
        except (EOFError, BrokenPipeError):
            pass
        self.process.wait(30)
