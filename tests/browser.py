"""A real browser without a screen, driven over its pipe (Chrome DevTools Protocol)."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_SWITCHES = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-sync"),
    *("--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage"),
    "--no-proxy-server",
)


class BrowserError(AssertionError):
    """The browser, or a script in its page, failed."""


class Tab:
    """A tab that was opened for a test."""

    def __init__(self, to_browser, from_browser, session=None):
        self._to, self._from, self.session = to_browser, from_browser, session
        self._ids, self._left = itertools.count(1), b""
        self.events = []

    def call(self, method, within_s=60, **params):
        """Call a method, and return its result; events that come meanwhile are kept."""
        number = next(self._ids)
        order = {"id": number, "method": method, "params": params}
        if self.session:
            order["sessionId"] = self.session
        os.write(self._to, json.dumps(order).encode() + b"\0")
        deadline = time.monotonic() + within_s
        while True:
            message = self._next(deadline)
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def _next(self, deadline):
        while b"\0" not in self._left:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._from], [], [], left_s)[0]:
                raise BrowserError("the browser does not answer")
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise BrowserError("the browser has ended")
            self._left += piece
        line, _, self._left = self._left.partition(b"\0")
        return json.loads(line)

    def run(self, script):
        """Return what an expression of JavaScript gives, once it is there."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise BrowserError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def until(self, script, within_s=60):
        """Wait until an expression is true."""
        deadline = time.monotonic() + within_s
        while not self.run(script):
            if time.monotonic() > deadline:
                raise BrowserError(f"never true: {script}\n{self.run('document.body.innerText')}")
            time.sleep(0.1)

    def open(self, url):
        """Open an address."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def resize(self, width, height=900, *, scheme="light"):
        """Give the page a size in CSS pixels, and the user's colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def press(self, key, code=None):
        """Press a key and let it go."""
        text = {"Enter": "\r", " ": " "}.get(key)
        number = {"Enter": 13, "Tab": 9, " ": 32}[key]
        given = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def click(self, selector):
        """Click what a selector finds first, as a mouse does."""
        self.run(f"found = document.querySelector({json.dumps(selector)}); found.scrollIntoView()")
        x, y = self.run(
            "box = found.getBoundingClientRect(); [box.x + box.width / 2, box.y + box.height / 2]"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path):
        """Write what is seen of the whole page."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browsing(folder):
    """Give a tab of a browser with a profile of its own."""
    order_read, order_write = os.pipe()
    told_read, told_write = os.pipe()
    assert CHROMIUM is not None
    switches = [*_SWITCHES, f"--user-data-dir={folder}"]
    if os.geteuid() == 0:
        switches.append("--no-sandbox")  # it refuses to run as root otherwise

    # The browser reads orders at descriptor 3, and writes at 4.
    shell = f'exec "$@" 3<&{order_read} 4>&{told_write}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", CHROMIUM, *switches],
        pass_fds=(order_read, told_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(order_read)
    os.close(told_write)
    try:
        browser = Tab(order_write, told_read)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            browser.call(f"{domain}.enable")
        yield browser
    finally:
        os.close(order_write)
        try:
            process.wait(20)  # it ends with its pipe
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(told_read)
