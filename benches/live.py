#!/usr/bin/env python3
"""A network camera of 30 frames a second, SSDLite on every frame, and a page that is open: how old is a JSON line?
Then two hundred watchers come, read slowly and vanish: does the pipeline slow down, does memory come back?

    python3 benches/live.py [--binary target/release/mobilens] [--seconds 60] [--watchers 200]

Needs ffmpeg and what tests/rtsp_server.py needs.
"""
import argparse, json, os, pathlib, random, socket, subprocess, tempfile, threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def open_page(port, path, stop, slowly=None):
    """Reads as a browser does, or slowly."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(2)
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            ends = time.monotonic() + (slowly or 1e9)
            while not stop.is_set() and time.monotonic() < ends:
                try:
                    if not s.recv(512 if slowly else 1 << 16):
                        return
                except TimeoutError:
                    pass
                if slowly:
                    time.sleep(random.uniform(0.05, 0.3))
    except OSError:
        pass


def visitor(port, stop):
    while not stop.is_set():
        open_page(port, random.choice(["/live.mjpeg", "/events", "/live.mjpeg?show=boxes"]), stop, random.uniform(1, 6))


def emitted(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
    line = next(l for l in text.splitlines() if l.startswith("mobilens_frames_total") and 'fate="emitted"' in l)
    return float(line.split()[-1])


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def rate(port, seconds):
    before, began = emitted(port), time.monotonic()
    time.sleep(seconds)
    return (emitted(port) - before) / (time.monotonic() - began)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", default="target/release/mobilens")
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--watchers", type=int, default=200)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        clip = f"{d}/thirty.mp4"
        # As cameras send it: without B-frames, which would have to wait for each other.
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-stream_loop", "35", "-i", str(ROOT / "assets/street.mp4"),
                        "-vf", "setpts=N/30/TB", "-r", "30", "-c:v", "libx264", "-preset", "veryfast", "-bf", "0",
                        "-g", "60", clip], check=True)
        rtsp, web = free_port(), free_port()
        server = subprocess.Popen(["/usr/bin/python3", str(ROOT / "tests/rtsp_server.py"), clip, str(rtsp)],
                                  stdout=subprocess.PIPE)
        server.stdout.readline()
        records = f"{d}/records.jsonl"
        run = subprocess.Popen(
            [a.binary, "pipelines/rtsp_security.yaml", "--set", f"source.rtsp.url=rtsp://127.0.0.1:{rtsp}/cam",
             "--set", "gating={}", "--set", f'sinks.0={{web: {{bind: "127.0.0.1:{web}", max_watchers: 100}}}}',
             "--set", f"sinks.1={{jsonl: {{path: {records}, timings: true}}}}"], cwd=ROOT, stderr=subprocess.PIPE)
        try:
            time.sleep(3)
            stop = threading.Event()
            for path in ["/live.mjpeg", "/events"]:
                threading.Thread(target=open_page, args=(web, path, stop), daemon=True).start()
            time.sleep(2)
            skip = sum(1 for _ in open(records))
            time.sleep(a.seconds)
            lines = [json.loads(l) for l in open(records).read().splitlines()[skip:]]
            ages = sorted(l["timings"]["end_to_end_ms"] for l in lines if l["type"] == "frame")
            dropped = sum(l["dropped_before"] for l in lines if l["type"] == "frame")
            at = lambda q: ages[int(q * (len(ages) - 1))]
            print(f"page open, {a.seconds} s: {len(ages)} frames, {dropped} dropped; from arrival to JSON line "
                  f"p50 {at(.5):.1f} ms, p95 {at(.95):.1f} ms, p99 {at(.99):.1f} ms, most {ages[-1]:.1f} ms")
            alone, before = rate(web, a.seconds / 3), memory(run.pid)
            crowd = threading.Event()
            threads = [threading.Thread(target=visitor, args=(web, crowd), daemon=True) for _ in range(a.watchers)]
            for t in threads:
                t.start()
            time.sleep(2)
            watched, during = rate(web, a.seconds / 3), memory(run.pid)
            crowd.set()
            for t in threads:
                t.join(10)
            time.sleep(5)
            again, after = rate(web, a.seconds / 3), memory(run.pid)
            print(f"{a.watchers} watchers: {alone:.2f} frames/s before, {watched:.2f} with them, {again:.2f} after; "
                  f"{before:.0f} MB before, {during:.0f} with them, {after:.0f} after")
            stop.set()
        finally:
            run.send_signal(2)
            print(run.communicate(timeout=20)[1].decode()[-700:])
            server.kill()


if __name__ == "__main__":
    main()
