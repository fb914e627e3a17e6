#!/bin/sh
# The printed schemas against what they describe: every pipeline, every card, and a run's records.
# Needs python3 with jsonschema and pyyaml; MOBILENS names the binary (default: the dev build).
set -eu
cd "$(dirname "$0")/.."
mobilens=${MOBILENS:-target/debug/mobilens}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$mobilens" schema >"$dir/pipeline.json"
"$mobilens" schema --card >"$dir/card.json"
"$mobilens" schema --records >"$dir/records.json"
"$mobilens" pipelines/ssd_counting.yaml --headless --pace fast --set 'gating.motion_gate={}' >"$dir/counting.jsonl" 2>/dev/null
"$mobilens" pipelines/deeplab_replay.yaml --frames 5 --set segment.rle=true >"$dir/segments.jsonl" 2>/dev/null
"$mobilens" pipelines/classify_pictures.yaml >"$dir/classes.jsonl" 2>/dev/null
"$mobilens" pipelines/face_pictures.yaml >"$dir/faces.jsonl" 2>/dev/null
python3 - "$dir" <<'PYTHON'
import glob, json, sys
import jsonschema, yaml

folder = sys.argv[1]
def check(schema, things):
    with open(f"{folder}/{schema}.json") as file:
        validator = jsonschema.Draft202012Validator(json.load(file))
    count = 0
    for name, thing in things:
        faults = [f"{name}: {'.'.join(map(str, e.path))}: {e.message[:200]}" for e in validator.iter_errors(thing)]
        assert not faults, faults
        count += 1
    print(f"{count} agree with the schema of {schema}")
    return validator

load = lambda path: yaml.safe_load(open(path))
validator = check("pipeline", ((p, load(p)) for p in glob.glob("pipelines/*.yaml")))
check("card", ((p, load(p)) for p in glob.glob("models/*.yaml")))
check("records", ((p, json.loads(l)) for p in glob.glob(f"{folder}/*.jsonl") for l in open(p)))
for wrong in [{"source": {"camera": {}}}, {"streams": [], "model": "m.yaml"}, {"streams": [{"source": {"camera": {}}}], "model": "m.yaml"},
              {"streams": [{"stream": "a", "model": "b"}], "model": "m.yaml"}]:
    assert list(validator.iter_errors(wrong)), wrong
PYTHON
