#!/bin/sh
# Tracking figures against py-motmetrics (MOTA, IDF1) and TrackEval (HOTA), on the sequences that the
# former's package ships. Needs python3 with motmetrics and trackeval; MOBILENS names the binary (default: the dev build).
#
# Then the tracker itself, on saved detections of the same sequences (NAME.jsonl in ../shared/data/tracking, or
# in MOBILENS_SHARED/tracking), at a detection threshold of 0.3: against the best of five other trackers on these
# detections, for HOTA and IDF1, and against that less 0.02 for MOTA. Skipped without the records, except on CI
# (MOBILENS_CI).
set -eu
cd "$(dirname "$0")/.."
mobilens=${MOBILENS:-target/debug/mobilens}
python3 - "$mobilens" <<'PYTHON'
import json, os, pathlib, subprocess, sys, tempfile
import numpy as np

if not hasattr(np, "asfarray"):  # motmetrics 1.4 was written for NumPy 1
    np.asfarray = lambda a, dtype=np.float64: np.asarray(a, dtype=dtype)
import motmetrics as mm
from trackeval.metrics import HOTA


def hota(truth, result):
    """TrackEval's HOTA of two tables, averaged over overlaps."""
    numbers = lambda table: {n: i for i, n in enumerate(sorted(set(table.index.get_level_values(1))))}
    of_truth, of_result = numbers(truth), numbers(result)
    data = dict(gt_ids=[], tracker_ids=[], similarity_scores=[])
    for frame in sorted(set(truth.index.get_level_values(0)) | set(result.index.get_level_values(0))):
        rows = [t.xs(frame, level=0) if frame in t.index.get_level_values(0) else t.iloc[:0].droplevel(0) for t in (truth, result)]
        boxes = [r[["X", "Y", "Width", "Height"]].to_numpy() for r in rows]
        iou = 1 - mm.distances.iou_matrix(boxes[0], boxes[1], max_iou=1) if len(boxes[0]) and len(boxes[1]) else np.zeros((len(boxes[0]), len(boxes[1])))
        data["gt_ids"].append(np.array([of_truth[i] for i in rows[0].index], int))
        data["tracker_ids"].append(np.array([of_result[i] for i in rows[1].index], int))
        data["similarity_scores"].append(np.nan_to_num(iou))
    data.update(num_timesteps=len(data["gt_ids"]), num_gt_dets=len(truth), num_tracker_dets=len(result),
                num_gt_ids=len(of_truth), num_tracker_ids=len(of_result))
    figures = HOTA().eval_sequence(data)
    return {key: float(np.mean(figures[name])) for key, name in [("hota", "HOTA"), ("deta", "DetA"), ("assa", "AssA")]}


data = os.path.join(os.path.dirname(mm.__file__), "data")
worst = 0.0
for name in ["TUD-Campus", "TUD-Stadtmitte"]:
    folder = os.path.join(data, name)
    ours = json.loads(subprocess.check_output([sys.argv[1], "eval", "tracking", "--mot", folder, "--json"]))
    truth = mm.io.loadtxt(os.path.join(folder, "gt.txt"), fmt="mot15-2D", min_confidence=1)
    result = mm.io.loadtxt(os.path.join(folder, "test.txt"), fmt="mot15-2D")
    host = mm.metrics.create()
    clear = mm.utils.compare_to_groundtruth(truth, result, "iou", distth=0.5)
    wanted = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_objects"]
    theirs = host.compute(clear, metrics=wanted, name=name).iloc[0].to_dict()
    theirs.update(hota(truth, result))
    names = {"num_switches": "switches", "num_false_positives": "false_positives", "num_misses": "missed", "num_objects": "objects"}
    for key, value in theirs.items():
        mine = ours[names.get(key, key)]
        worst = max(worst, abs(mine - value))
        print(f"{name:15} {key:20} ours {mine:9.4f}  theirs {value:9.4f}")
assert worst < 5e-4, worst
print(f"equal to three decimals (largest difference {worst:.1e})")

# HOTA, IDF1 and MOTA of C-BIoU, OC-SORT, ByteTrack, BoT-SORT and SORT (PyPI trackers 2.6.1): the best of each.
BEST = {"TUD-Campus": (0.497, 0.713, 0.649), "TUD-Stadtmitte": (0.500, 0.688, 0.701)}
PIPELINE = """
source: {{ images: {{ path: {pictures} }} }}
model: {model}
detect: {{ score_threshold: 0.3 }}
track: {{ memory_ms: 1500, confirm_frames: 2 }}
sinks: [ {{ jsonl: {{ path: "-" }} }} ]
"""
records = pathlib.Path(os.environ.get("MOBILENS_SHARED", "../shared/data")) / "tracking"
if not records.is_dir():
    print(f"SKIPPED the tracker on saved detections: there is no {records}")
    sys.exit("MOBILENS_CI" in os.environ)
faults = []
with tempfile.TemporaryDirectory() as work:
    pipeline = pathlib.Path(work) / "pipeline.yaml"
    model = pathlib.Path("models/ssdlite_mobilenet_v2_coco.yaml").resolve()
    pipeline.write_text(PIPELINE.format(pictures=work, model=model))
    for name, (hota_best, idf1_best, mota_best) in BEST.items():
        tracks = f"{work}/{name}.txt"
        subprocess.check_call([sys.argv[1], "analyze", records / f"{name}.jsonl", pipeline, "--format", "mot", "--output", tracks])
        figures = json.loads(subprocess.check_output(
            [sys.argv[1], "eval", "tracking", "--mot", os.path.join(data, name), "--results", tracks, "--json"]))
        least = {"hota": hota_best, "idf1": idf1_best, "mota": mota_best - 0.02}
        for key, value in least.items():
            print(f"{name:15} {key:20} ours {figures[key]:9.4f}  at least {value:.3f}")
            faults += [f"{name}: {key} {figures[key]:.4f} < {value:.3f}"] if figures[key] < value else []
        print(f"{name:15} false positives {figures['false_positives']}, missed {figures['missed']}, switches {figures['switches']}")
assert not faults, faults
PYTHON
