"""A long run with faults: python3 soak.py BINARY SECONDS PATTERN. Called by soak.sh, which says what it needs.

Four streams run in one process: `rtsp` from GStreamer's server, `live` from a clip as from a camera, `ffmpeg`
and `y4m` from clips at their pace. All of them go to the web page, JSON lines, MQTT and a webhook; `rtsp` also to
recordings, clips and standard output, `live` to recordings, `ffmpeg` to MOTChallenge, `y4m` to images.

A fault happens every half minute (more often in a short run, so that each happens once): see `faults()`. Only
the stream `rtsp` and its recordings are ever hit. What must hold is in `check()`:

- every frame that was captured was emitted or dropped for a reason, at the end and in each sample;
- the other streams lose no frame, and their JSON lines hold each frame once, in order;
- all streams go on after each fault, and so does the recording after faults of its disk;
- memory of the last third over the first, once each fault has happened, at most MEMORY_RATIO (the last third of
  a run too short for that at most SHORT_MEMORY_RATIO), no more threads or descriptors;
- latency from capture to record within LATENCY_S for 99 % of the frames;
- no request with the webhook's secret reaches another server, and no stranger gets a page;
- SIGINT ends the run with status 0.
"""
import contextlib
import glob
import http.server
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

FRAMES_PER_S = 5
# Slow enough that a busy machine does not drop one for the next.
LIVE_FRAMES_PER_S = 2
SOUND = ["live", "ffmpeg", "y4m"]  # streams without a fault
STREAMS = ["rtsp", *SOUND]
LATENCY_S = 2.0
MEMORY_RATIO = 1.03
SHORT_MEMORY_RATIO = 1.25  # in a short run, whose faults fill buffers for the first time until its end
MORE = 2  # threads or descriptors, of a connection that is being made anew
TOKEN = "open-sesame-soak"
SECRET = "Bearer soak-secret"
FAULT_EVERY_S = 30
FAULT_S = 10
RECOVERY_S = 60
END_S = 30
SMALL_DISK_MB = 24


def skip(why):
    print(f"SKIPPED: {why}", flush=True)
    if os.environ.get("MOBILENS_CI"):
        sys.exit(1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(done, limit_s, what):
    """How long it took until `done()`, or None and a word after `limit_s`."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if done():
            return time.monotonic() - began
        time.sleep(0.2)
    print(f"  {what}: not within {limit_s:.0f} s", flush=True)
    return None


class Child:
    """A program that can be stopped, started again and frozen."""

    def __init__(self, command, ready=lambda: True, **options):
        self.command, self.ready, self.options = command, ready, options
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, **self.options)
        wait_until(self.ready, 20, f"{self.command[0]} is ready")

    def kill(self):
        # Also where it is frozen.
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Receiver:
    """A webhook receiver that answers, hangs, or redirects to a server where nobody may come."""

    def __init__(self):
        self.mode, self.accepted, self.trapped = "answers", 0, 0
        receiver = self

        class Hook(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                while receiver.mode == "hangs":
                    time.sleep(0.1)
                status = 302 if receiver.mode == "redirects" else 200
                if status == 200 and self.headers.get("Authorization") == SECRET:
                    receiver.accepted += 1
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", f"http://127.0.0.1:{receiver.trap_port}/")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        class Trap(Hook):
            def do_POST(self):
                receiver.trapped += 1
                self.send_error(400)

            do_GET = do_POST

        self.port, self.trap_port = (self.serve(handler) for handler in (Hook, Trap))

    @staticmethod
    def serve(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]


class Soak:
    def __init__(self, binary, seconds, pattern, work):
        self.binary, self.seconds, self.pattern, self.work = os.path.abspath(binary), seconds, pattern, work
        self.failures, self.samples, self.strangers_admitted = [], [], 0
        self.stack = contextlib.ExitStack()
        self.rtsp_port, self.mqtt_port, self.web_port = free_port(), free_port(), free_port()
        self.receiver = Receiver()
        self.is_read = threading.Event()
        self.is_read.set()
        self.is_over = threading.Event()
        self.disk_fault_ended = None
        self.all_played_at = None

    # Preparation

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def make_clips(self):
        def ffmpeg(*arguments):
            subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)

        rate, live_rate = ["-r", str(FRAMES_PER_S)], ["-r", str(LIVE_FRAMES_PER_S)]
        h264 = ["-c:v", "libx264", "-profile:v", "baseline", "-g", str(FRAMES_PER_S)]
        ffmpeg("-i", "assets/street.mp4", *rate, *h264, self.path("clip.mp4"))
        ffmpeg("-i", "assets/street.mp4", *live_rate, *h264, self.path("live.mp4"))
        # At its end the camera goes away and is taken up again, every five minutes.
        ffmpeg("-stream_loop", "29", "-i", self.path("clip.mp4"), "-c", "copy", self.path("long.mp4"))
        ffmpeg("-i", "assets/street.mp4", *rate, "-vf", "scale=320:-2", "-pix_fmt", "yuv420p", self.path("clip.y4m"))

    def mount_small_disk(self):
        small = self.path("small")
        os.mkdir(small)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m,mode=0700", "tmpfs", small]
        if os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0:
            self.stack.callback(subprocess.run, ["umount", "-l", small])
            return True
        skip("only root may mount a small disk, so none gets full")
        return False

    def start_helpers(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        config = self.path("mosquitto.conf")
        with open(config, "w") as file:
            file.write(f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\n")
        mosquitto = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        if not mosquitto:
            sys.exit("mosquitto is not installed")
        self.broker = Child([mosquitto, "-c", config], lambda: listens(self.mqtt_port), **quiet)
        self.stack.callback(self.broker.kill)
        server = ["/usr/bin/python3", "tests/rtsp_server.py", self.path("long.mp4"), str(self.rtsp_port)]
        self.camera = Child(server, lambda: listens(self.rtsp_port), **quiet)
        self.stack.callback(self.camera.kill)

    def pipeline(self):
        person_and_cars = {name: {} for name in ["person", "bicycle", "car", "motorcycle", "bus", "truck"]}
        whole = [[0, 0], [1, 0], [1, 1], [0, 1]]

        def clip(name, pace, **keys):
            return {"video": {"path": self.path(name), "pace": pace, "loop": True, **keys}}

        def stream(name, source, sinks):
            return {"stream": name, "source": source, "zones": {"all": {"polygon": whole}}, "sinks": sinks}

        rtsp = {"rtsp": {"url": f"rtsp://127.0.0.1:{self.rtsp_port}/cam", "reconnect": "always", "stall_ms": 3000}}
        small = {"video": {"dir": self.path("small", "rtsp"), "split_s": 5, "max_mb": SMALL_DISK_MB // 2, "min_free_mb": 1}}
        return {
            "model": os.path.abspath("models/ssdlite_mobilenet_v2_coco.yaml"),
            "detect": {"score_threshold": 0.4, "classes": person_and_cars},
            "track": {},
            "inference": {"max_age_ms": 2000},
            "streams": [
                stream("rtsp", rtsp, [small, {"clips": {"dir": self.path("clips"), "max_mb": 50}}, {"jsonl": {"path": "-"}}]),
                stream("live", clip("live.mp4", "live"), [{"video": {"dir": self.path("all"), "split_s": 60, "max_mb": 200}}]),
                stream("ffmpeg", clip("clip.mp4", "realtime", decoder="ffmpeg"), [{"mot": {"path": self.path("tracks.txt")}}]),
                stream("y4m", clip("clip.y4m", "realtime"), [{"images": {"dir": self.path("images"), "format": "jpeg"}}]),
            ],
            "sinks": [
                {"web": {"bind": f"127.0.0.1:{self.web_port}", "token": TOKEN}},
                {"jsonl": {"path": self.path("records.jsonl")}},
                {"store": {"path": self.path("events.db"), "max_mb": 20}},
                {"mqtt": {"url": f"mqtt://127.0.0.1:{self.mqtt_port}", "topic": "soak", "frames": "all"}},
                {"webhook": {"url": f"http://127.0.0.1:{self.receiver.port}/", "headers": {"Authorization": SECRET}}},
            ],
        }

    def write_pipeline(self, **changes):
        """Puts the file in its place whole, as an editor does."""
        with open(self.path("soak.part"), "w") as file:
            json.dump(self.pipeline() | changes, file, indent=1)
        os.replace(self.path("soak.part"), self.path("soak.yaml"))

    def reload(self, **changes):
        self.write_pipeline(**changes)
        self.run.send_signal(signal.SIGHUP)

    def start(self):
        self.write_pipeline()
        command = [self.binary, self.path("soak.yaml"), "--headless"]
        if os.geteuid() == 0:
            # Root may write where nobody may; this program must not, or no permission could be lost.
            command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
        with open(self.path("said"), "w") as said:
            self.run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        self.stack.callback(self.run.kill)
        threading.Thread(target=self.read_stdout, daemon=True).start()
        if wait_until(lambda: all(self.counts(s)["emitted"] >= 10 for s in STREAMS), 120, "the first frames") is None:
            self.say_more()
            sys.exit(1)
        live = f"http://127.0.0.1:{self.web_port}/"
        viewer = ["curl", "-sN", "-o", "/dev/null", "-H", f"Authorization: Bearer {TOKEN}"]
        self.viewers = [Child([*viewer, live + page]) for page in ("live.mjpeg", "events")]
        for child in self.viewers:
            self.stack.callback(child.kill)
        threading.Thread(target=self.sample, daemon=True).start()

    # Watching

    def read_stdout(self):
        while self.is_read.wait() and self.run.stdout.read1(65536):
            pass

    def metrics(self):
        request = urllib.request.Request(f"http://127.0.0.1:{self.web_port}/metrics")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def counts(self, stream, text=None):
        """Frames of a stream: captured, emitted, dropped."""
        text = self.metrics() if text is None else text
        found = re.findall(rf'mobilens_frames_total{{stream="{stream}",fate="(\w+)"}} (\d+)', text)
        fates = {fate: int(n) for fate, n in found}
        dropped = sum(n for fate, n in fates.items() if fate.startswith("dropped"))
        return {"captured": fates.get("captured", 0), "emitted": fates.get("emitted", 0), "dropped": dropped}

    def latency_s(self, stream, text, share=0.99):
        """The least bound of the histogram that `share` of the frames are below."""
        labels = rf'stream="{stream}",stage="end to end"'
        below = re.findall(rf'mobilens_latency_seconds_bucket{{{labels},le="([^"]+)"}} (\d+)', text)
        total = int(below[-1][1]) if below else 0
        return next((float(bound) for bound, n in below if total and int(n) >= share * total), float("inf"))

    def sample(self):
        while not self.is_over.wait(2):
            text = self.metrics()
            with contextlib.suppress(OSError, AttributeError):
                with open(f"/proc/{self.run.pid}/status") as file:
                    status = file.read()
                memory = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
                threads = int(re.search(r"Threads:\s+(\d+)", status).group(1))
                descriptors = len(os.listdir(f"/proc/{self.run.pid}/fd"))
                self.samples.append((time.monotonic(), memory, threads, descriptors))
            for stream in STREAMS if text else []:
                counts = self.counts(stream, text)
                waiting = counts["captured"] - counts["emitted"] - counts["dropped"]
                if not 0 <= waiting <= 64:
                    self.failures.append(f"{stream}: {counts} do not balance")
            self.prune_images()

    def prune_images(self):
        """Images are one a frame; the last minute of them is enough."""
        for image in glob.glob(self.path("images", "*.jpg")):
            with contextlib.suppress(OSError):
                if time.time() - os.path.getmtime(image) > 60:
                    os.remove(image)

    def must(self, holds, what):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        if not holds:
            self.failures.append(what)

    def say_more(self):
        print("--- what the program said")
        with open(self.path("said")) as said:
            print("".join(said.readlines()[-40:]))

    # Faults

    def faults(self, has_small_disk):
        """Each is a name, what makes it begin, and what makes it end."""
        small = self.path("small", "rtsp")

        def set_receiver(mode):
            self.receiver.mode = mode

        def fill():
            with open(self.path("small", "ballast"), "wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while ballast.write(bytes(65536)):
                    pass

        def disk_is_back(repair):
            repair()
            self.disk_fault_ended = time.time()

        strangers = []

        def come():
            """Idle connections and unfinished requests, from an address of their own."""
            for i in range(400):
                with contextlib.suppress(OSError):
                    stranger = socket.create_connection(("127.0.0.1", self.web_port), 2, ("127.0.0.2", 0))
                    strangers.append(stranger)
                    if i % 2:
                        stranger.sendall(b"GET / HTTP/1.1\r\nX-Padding: " + bytes([65]) * 1000)

        def go():
            while strangers:
                strangers.pop().close()

        def guess():
            for i in range(200):
                with contextlib.suppress(OSError):
                    with socket.create_connection(("127.0.0.1", self.web_port), 2, ("127.0.0.3", 0)) as stranger:
                        head = f"GET /snapshot.jpg HTTP/1.1\r\nHost: 127.0.0.1:{self.web_port}\r\nConnection: close"
                        stranger.sendall(f"{head}\r\nAuthorization: Bearer guess-number-{i}\r\n\r\n".encode())
                        stranger.settimeout(1)
                        self.strangers_admitted += stranger.recv(64).startswith(b"HTTP/1.1 200")

        def refuse():
            self.reload(detect={"score_threshold": 7})

        def change():
            self.reload(detect={"score_threshold": 0.45})
            reloaded = wait_until(lambda: self.reloads() > 0, RECOVERY_S, "the changed file is in force")
            self.must(reloaded is not None, "a changed file is in force, one with an error changed nothing")

        viewer = self.viewers[0]
        faults = [
            ("the file gets an error, and is mended", refuse, change),
            ("the camera is switched off", self.camera.kill, self.camera.start),
            ("the broker is stopped", self.broker.kill, self.broker.start),
            ("the webhook's receiver hangs", lambda: set_receiver("hangs"), lambda: set_receiver("answers")),
            ("a viewer is stopped", viewer.freeze, viewer.thaw),
            ("hundreds of idle connections", come, go),
            ("the camera hangs", self.camera.freeze, self.camera.thaw),
            ("the broker hangs", self.broker.freeze, self.broker.thaw),
            ("the webhook's receiver redirects", lambda: set_receiver("redirects"), lambda: set_receiver("answers")),
            ("nobody reads standard output", self.is_read.clear, self.is_read.set),
            ("a stranger guesses tokens", guess, lambda: None),
        ]
        if has_small_disk:
            ballast = self.path("small", "ballast")
            faults.insert(1, ("the disk of recordings is full", fill, lambda: disk_is_back(lambda: os.remove(ballast))))
            lose, give = (lambda: os.chmod(small, 0)), (lambda: os.chmod(small, 0o700))
            faults.insert(5, ("the permission to record is lost", lose, lambda: disk_is_back(give)))
        faults = [fault for fault in faults if re.search(self.pattern, fault[0])]
        return faults or sys.exit(f"no fault matches {self.pattern}")

    def go_on(self, before):
        text = self.metrics()
        return all(self.counts(stream, text)["captured"] >= before[stream] + 5 for stream in STREAMS)

    def play_faults(self, faults):
        began = time.monotonic()
        every = min(FAULT_EVERY_S, self.seconds / (len(faults) + 1))
        lasts = min(FAULT_S, every * 0.4)
        number = 0
        while True:
            next_at = began + (number + 1) * every
            # The last fault has time to be over.
            if next_at + every > began + self.seconds + 0.001:
                break
            time.sleep(max(0.0, next_at - time.monotonic()))
            name, begin, end = faults[number % len(faults)]
            number += 1
            print(f"{time.monotonic() - began:5.0f} s: {name}", flush=True)
            begin()
            time.sleep(lasts)
            end()
            text = self.metrics()
            before = {stream: self.counts(stream, text)["captured"] for stream in STREAMS}
            took = wait_until(lambda: bool(text) and self.go_on(before), RECOVERY_S, "all streams go on")
            if took is None:
                self.failures.append(f"{name}: a stream did not go on")
            else:
                print(f"         all streams go on after {took:.1f} s", flush=True)
            if number == len(faults):
                self.all_played_at = time.monotonic()
            if self.run.poll() is not None:
                self.failures.append(f"{name}: the program ended with status {self.run.returncode}")
                return
        time.sleep(max(0.0, began + self.seconds - time.monotonic()))

    # What must hold

    def check(self):
        text = self.metrics()
        newest = max(map(os.path.getmtime, glob.glob(self.path("small", "rtsp", "*.mp4"))), default=0)
        if self.disk_fault_ended is not None:
            self.must(newest > self.disk_fault_ended, "recording goes on after the faults of its disk")
        for stream in SOUND:
            latency = self.latency_s(stream, text)
            self.must(latency <= LATENCY_S, f"{stream}: 99 % of the frames within {latency} s, at most {LATENCY_S}")
        self.is_over.set()
        self.check_growth()

        self.run.send_signal(signal.SIGINT)
        self.is_read.set()
        began = time.monotonic()
        try:
            status = self.run.wait(END_S)
        except subprocess.TimeoutExpired:
            status = f"none within {END_S} s"
        self.must(status == 0, f"the end after SIGINT: exit status {status}, {time.monotonic() - began:.1f} s")
        self.check_records()
        self.check_recordings()
        self.check_store()
        self.must(self.receiver.accepted > 0, f"the webhook's receiver accepted {self.receiver.accepted} events")
        self.must(self.receiver.trapped == 0, f"another server got {self.receiver.trapped} of its requests")
        self.must(self.strangers_admitted == 0, f"{self.strangers_admitted} strangers were admitted")
        subscribe = ["mosquitto_sub", "-p", str(self.mqtt_port), "-t", "soak/availability", "-C", "1", "-W", "10"]
        kept = subprocess.run(subscribe, capture_output=True, text=True).stdout.strip()
        self.must(kept == "offline", f"the broker keeps availability {kept!r}")
        with open(self.path("said")) as said:
            panics = [line.strip() for line in said if re.search("panicked|internal error", line)]
        self.must(not panics, f"no panic {panics[:3]}")

    def check_growth(self):
        """Compares the last third with the first, after each fault has had its effect on buffers once."""
        rows, most_memory = self.samples, SHORT_MEMORY_RATIO
        if self.all_played_at is not None:
            later = [row for row in rows if row[0] >= self.all_played_at]
            if len(later) >= len(rows) / 2:
                rows, most_memory = later, MEMORY_RATIO
        tenth, third = max(1, len(self.samples) // 10), len(rows) // 3
        memory = [statistics.median(row[1] for row in self.samples[i : i + tenth]) for i in range(0, len(self.samples), tenth)]
        print("     memory in tenths of the run (MB):", *(f"{kb / 1024:.1f}" for kb in memory))

        def thirds(column):
            # Connections that come and go move the counts for a moment.
            return (statistics.median(row[column] for row in part) for part in (rows[:third], rows[-third:]))

        first, last = thirds(1)
        ratio = last / first
        self.must(ratio <= most_memory, f"memory: {first:.0f} kB in the first third, {last:.0f} kB in the last: {ratio:.3f}, at most {most_memory}")
        for name, column in [("threads", 2), ("descriptors", 3)]:
            first, last = thirds(column)
            self.must(last <= first + MORE, f"{name}: {first:.0f} in the first third, {last:.0f} in the last, at most {MORE} more")

    def check_records(self):
        frames, ends = {stream: [] for stream in STREAMS}, {}
        torn = 0
        with open(self.path("records.jsonl")) as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    torn += 1
                    continue
                if record["type"] == "frame":
                    frames[record["stream"]].append(record["frame"])
                elif record["type"] == "end":
                    ends[record["stream"]] = record["frames"]
        self.must(torn == 0, f"{torn} torn lines")
        for stream in STREAMS:
            if stream not in ends:
                self.must(False, f"{stream}: an end record")
                continue
            end, numbers = ends[stream], frames[stream]
            dropped = sum(end["dropped"].values())
            self.must(end["captured"] == end["emitted"] + dropped, f"{stream}: {end} balance")
            self.must(len(numbers) == end["emitted"], f"{stream}: {len(numbers)} frame records, {end['emitted']} emitted")
            self.must(numbers == sorted(set(numbers)), f"{stream}: each frame once, in order")
            if stream in SOUND:
                self.must(dropped == 0 and numbers == list(range(end["captured"])), f"{stream}: no frame is lost")

    def check_recordings(self):
        """Those of the stream without a fault play; each lasts to the next, so only the last may be short."""
        recordings = sorted(glob.glob(self.path("all", "*.mp4")))
        self.must(bool(recordings), f"{len(recordings)} recordings")
        for recording in recordings[-5:]:
            command = ["ffmpeg", "-v", "error", "-nostdin", "-i", recording, "-f", "null", "-"]
            played = subprocess.run(command, capture_output=True, text=True)
            self.must(played.returncode == 0 and not played.stderr, f"{os.path.basename(recording)} plays {played.stderr[:200]}")

    def reloads(self):
        """Events of reloads in the records until now."""
        with open(self.path("records.jsonl")) as lines:
            return sum('"kind":"reload"' in line for line in lines)

    def check_store(self):
        store = sqlite3.connect(f"file:{self.path('events.db')}?mode=ro", uri=True)
        with contextlib.closing(store):
            said = store.execute("PRAGMA integrity_check").fetchone()[0]
            self.must(said == "ok", f"the event store's integrity: {said}")
            streams = {stream for stream, in store.execute("SELECT DISTINCT stream FROM events")}
            self.must(streams == set(STREAMS), f"it has events of {', '.join(sorted(streams))}")

    def soak(self):
        with self.stack:
            self.make_clips()
            has_small_disk = self.mount_small_disk()
            self.start_helpers()
            self.start()
            self.play_faults(self.faults(has_small_disk))
            if self.run.poll() is None:
                self.check()
            if self.failures:
                self.say_more()
        for failure in dict.fromkeys(self.failures):
            print(f"FAILED: {failure}")
        return not self.failures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        binary, seconds, pattern = sys.argv[1:]
        sys.exit(not Soak(binary, float(seconds), pattern, folder).soak())
