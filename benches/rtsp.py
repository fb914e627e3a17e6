#!/usr/bin/env python3
"""A network camera of 25 frames a second: how late is a frame at the end of a minute, and at its beginning? Then its
server is killed and started again five times: how soon do frames come again?

    python3 benches/rtsp.py [--binary target/release/mobilens] [--seconds 60]

Needs ffmpeg and what tests/rtsp_server.py needs.
"""
import argparse, json, pathlib, socket, statistics, subprocess, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(clip, port):
    command = ["/usr/bin/python3", str(ROOT / "tests/rtsp_server.py"), clip, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n", "GStreamer's RTSP server is not installed"
    return server


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", default="target/release/mobilens")
    p.add_argument("--seconds", type=int, default=60)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        clip, port = f"{d}/long.mp4", free_port()
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-stream_loop", "59", "-i", str(ROOT / "assets/street.mp4"),
                        "-c", "copy", clip], check=True)
        server = serve(clip, port)
        command = [a.binary, "tests/data/tiny/replay.yaml", "--headless", "--input", f"rtsp://127.0.0.1:{port}/cam"]
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            # How much later than its own time each frame comes; the first seconds are for warming up.
            late, began, dropped = [], time.monotonic(), 0
            for line in run.stdout:
                record, now = json.loads(line), time.monotonic() - began
                if record["type"] == "frame":
                    late.append((now, now * 1000 - record["pts_ms"]))
                    dropped += record["dropped_before"]
                if now > a.seconds:
                    break
            part = a.seconds / 8
            first = statistics.median(l for t, l in late if part / 2 < t < part * 1.5)
            last = statistics.median(l for t, l in late if t > a.seconds - part)
            print(f"{a.seconds} s: {len(late)} frames, {dropped} dropped; a frame comes {last - first:+.1f} ms later at the end "
                  "than at the beginning")
            gaps = []
            for _ in range(5):
                server.kill()
                server.wait()
                time.sleep(0.7)
                server = serve(clip, port)
                began, is_back = time.monotonic(), False
                for line in run.stdout:
                    record = json.loads(line)
                    is_back |= record["type"] == "event" and record["name"] == "back"
                    if is_back and record["type"] == "frame":
                        break
                gaps.append(time.monotonic() - began)
            print(f"frames again after the server's return: {', '.join(f'{g:.1f}' for g in gaps)} s")
        finally:
            run.send_signal(2)
            run.communicate(timeout=20)
            server.kill()


if __name__ == "__main__":
    main()
