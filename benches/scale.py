#!/usr/bin/env python3
"""How many cameras of 5 frames a second (640x360) does one machine look at?

    python3 benches/scale.py PEER_PIPELINE.py [--binary target/release/mobilens] [--seconds 30]

The peer's frames/s on the same pictures (OpenCV and ONNX Runtime, two threads) say how many it could; MobiLens
gets a third more, each a live stream of its own in one process, and must drop nothing to speak of. Needs ffmpeg
and what the peer needs. Six classes, as in the pipelines; the peer computes all 80.
"""
import argparse, json, math, pathlib, re, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/ssdlite_mobilenet_v2_coco"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("peer")
    p.add_argument("--binary", default="target/release/mobilens")
    p.add_argument("--seconds", type=int, default=30)
    p.add_argument("--streams", type=int, help="instead of the peer's number and a third")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        clip = f"{d}/camera.mp4"
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-stream_loop", "9", "-i", str(ROOT / "assets/street.mp4"),
                        "-vf", "fps=5,scale=640:360", "-c:v", "libx264", "-preset", "veryfast", "-g", "10", clip],
                       check=True)
        rates = []
        for _ in range(3):
            said = subprocess.run([sys.executable, a.peer, f"{MODEL}.onnx", clip, f"{d}/peer.jsonl", "--threads", "2"],
                                  check=True, capture_output=True, text=True).stdout
            rates.append(float(re.search(r"([\d.]+) frames/s", said).group(1)))
        rate = statistics.median(rates)
        could = int(rate / 5)
        streams = a.streams or math.ceil(could * 4 / 3)
        print(f"the peer: {rate:.1f} frames/s ({', '.join(map(str, rates))}), {could} cameras; ours: {streams}")
        names = "{person: {}, bicycle: {}, car: {}, motorcycle: {}, bus: {}, truck: {}}"
        text = f"model: {MODEL}.yaml\ndetect: {{classes: {names}}}\nstreams:\n"
        for i in range(streams):
            text += f"  - stream: camera{i}\n    source: {{video: {{path: {clip}, pace: live, loop: true}}}}\n"
        pathlib.Path(f"{d}/scale.yaml").write_text(text + f"sinks:\n  - jsonl: {{path: {d}/out.jsonl, timings: true}}\n")
        run = subprocess.Popen([a.binary, f"{d}/scale.yaml"], stderr=subprocess.PIPE)
        time.sleep(a.seconds)
        run.send_signal(2)
        run.communicate(timeout=60)
        records = [json.loads(l) for l in open(f"{d}/out.jsonl")]
        ends = [r["frames"] for r in records if r["type"] == "end"]
        ages = sorted(r["timings"]["end_to_end_ms"] for r in records if r["type"] == "frame")
        captured, emitted = (sum(e[k] for e in ends) for k in ("captured", "emitted"))
        least = min(e["emitted"] / max(e["captured"], 1) for e in ends)
        at = lambda q: ages[int(q * (len(ages) - 1))]
        print(f"{streams} streams, {a.seconds} s: {captured} frames captured, {emitted} looked at ({100 * emitted / captured:.1f} %, "
              f"the worst stream {100 * least:.1f} %), {emitted / a.seconds:.1f} frames/s; age p50 {at(.5):.0f} ms, p99 {at(.99):.0f} ms")


if __name__ == "__main__":
    main()
