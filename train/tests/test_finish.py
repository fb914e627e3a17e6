"""The end of a recipe: card, program, evaluation, and cross-validation with its threshold."""
import json
import stat

import pytest
import yaml
from conftest import ROOT
from mobilens_train import ablate, calibrate, detect, distill, finish, tiles
from mobilens_train.data import DataError
from mobilens_train.program import ROOT as OF_PROGRAM

SAYS = '''#!/usr/bin/env python3
"""Stands for the program: answers as it does."""
import json, sys
a = sys.argv[1:]
if a[0] == "inspect":
    print(json.dumps({"layers": [{"name": "x", "operator": "conv", "runs_on": "tract"}], "totals": [{"macs": 3, "runs_on": "avx2"}, {"macs": 1, "runs_on": "tract"}]}))
elif a[0] == "check":
    open(a[1]).read()
elif a[0] == "quantize":
    out = a[a.index("-o") + 1]
    open(out, "w").write("int8")
    open(out.replace(".onnx", ".yaml"), "w").write(open(a[1]).read() + 'converted: "old"\\n')
elif a[0] == "eval":
    print(json.dumps({"AP": 0.5, "AP50": 0.75, "AP75": None}))
elif "--format" in a:
    found = [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "score": 0.9}]
    json.dump(found, open(a[a.index("--output") + 1], "w"))
else:
    sys.exit("unexpected: " + " ".join(a))
'''


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "mobilens"
    path.write_text(SAYS)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fine_tune(card, pictures, out, *more):
    return detect.main(["--card", str(card), "--yolo", str(pictures), "--class", "red=0", "--class", "blue=1", "--crops", "60", "130", "--steps", "2", "--batch", "2", "--threads", "1", "--out", str(out), *more])


def test_without_the_program_it_says_so_and_goes_on(card, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(finish, "find_program", lambda given: None)
    assert fine_tune(card, pictures, tmp_path / "new") == 0
    assert "WARNING: the program mobilens was not found" in capsys.readouterr().err
    text = yaml.safe_load((tmp_path / "new" / "new.yaml").read_text())
    assert text["name"] == "new" and text["file"] == "new.onnx" and text["labels"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    assert text["sha256"] == finish.sha256_of(tmp_path / "new" / "new.onnx")
    assert "small" in text["source"] and "seed 0" in text["source"] and "2 steps of 2" in text["source"] and str(tmp_path) not in text["source"]
    assert text["head"]["ssd"]["anchors"]["feature_maps"] == [8, 4]


def test_all_of_it_with_a_program(card, pictures, tmp_path, capsys, program):
    out = tmp_path / "new"
    assert fine_tune(card, pictures, out, "--mobilens", str(program), "--int8", "--validate", str(pictures), "--validate-tiles", "2x1", "--licence", "CC0") == 0
    said = capsys.readouterr().out
    assert "75.0% of the multiplications run on own kernels; by tract: x (conv)" in said
    assert "| new | 0.5000 | 0.7500 | None |" in said and "| new_int8 | " in said
    for name in ("new", "new_int8"):
        text = yaml.safe_load((out / f"{name}.yaml").read_text())
        assert text["accuracy"].startswith("AP .500, AP50 .750, AP75 none on 12 pictures; at score 0.4 0 of ") and text["licence"] == "CC0"
    assert "32 samples" in yaml.safe_load((out / "new_int8.yaml").read_text())["converted"]
    assert yaml.safe_load((out / "pipeline.yaml").read_text())["gating"]["tiles"]["columns"] == 2
    truth = json.loads((out / "validate" / "instances.json").read_text())
    assert len(truth["images"]) == 12 and (out / "validate" / "pictures" / truth["images"][0]["file_name"]).exists()
    assert len(list((out / "calibration").glob("*.png"))) == 32


def test_a_program_that_fails_is_quoted(card, pictures, tmp_path, capsys):
    broken = tmp_path / "mobilens"
    broken.write_text("#!/bin/sh\necho 'model.onnx: broken' >&2\nexit 2\n")
    broken.chmod(0o755)
    assert fine_tune(card, pictures, tmp_path / "new", "--mobilens", str(broken)) == 1
    assert "mobilens inspect ended with exit code 2: model.onnx: broken" in capsys.readouterr().err
    with pytest.raises(DataError, match="no such file"):
        finish.find_program(tmp_path / "none")


def test_the_real_program_takes_the_new_model(card, pictures, tmp_path, capsys, mobilens):
    assert fine_tune(card, pictures, tmp_path / "new", "--mobilens", mobilens, "--validate", str(pictures)) == 0
    said = capsys.readouterr().out
    assert "100.0% of the multiplications run on own kernels" in said and "accepted by mobilens check" in said and "| new | " in said


def test_a_line_of_a_card_is_replaced_with_what_it_goes_on_in(tmp_path):
    card = tmp_path / "c.yaml"
    card.write_text("name: a # a comment\nsource: one\n  two\n\nlabels:\n- id: 1\n")
    finish.set_in_card(card, "source", "say: \"x\"")
    finish.set_in_card(card, "accuracy", "AP 1")
    assert card.read_text().startswith("name: a # a comment\n")
    assert yaml.safe_load(card.read_text()) == {"name": "a", "source": 'say: "x"', "labels": [{"id": 1}], "accuracy": "AP 1"}


def test_folds_then_a_threshold(card, pictures, tmp_path, capsys):
    for fold in (0, 1):
        assert fine_tune(card, pictures, tmp_path / f"fold{fold}", "--folds", "2", "--fold", str(fold), "--no-program") == 0
    data = [json.loads((tmp_path / f"fold{fold}" / "fold.json").read_text()) for fold in (0, 1)]
    assert [d["pictures"] for d in data] == [6, 6] and all(d["verdicts"] and d["objects"] for d in data)
    # What is found by chance has no good threshold; one verdict that is right gives one.
    data[0]["verdicts"].append([0.95, 1])
    (tmp_path / "fold0" / "fold.json").write_text(json.dumps(data[0]))
    files = [str(tmp_path / f"fold{fold}" / "fold.json") for fold in (0, 1)]
    assert calibrate.main(["--folds", *files, "--card", str(tmp_path / "fold0" / "fold0.yaml"), "--out", str(tmp_path / "final"), "--no-program"]) == 0
    assert "--from-score 0." in capsys.readouterr().out
    assert "class biases shifted by" in (tmp_path / "final" / "final.yaml").read_text()
    assert calibrate.main(["--folds", str(card)]) == 2
    assert "not a fold.json" in capsys.readouterr().err


def test_a_teacher_beside_the_labels_and_first_labels(card, pictures, tmp_path, capsys):
    assert fine_tune(card, pictures, tmp_path / "taught", "--teacher", str(card), "--no-program") == 0
    assert "teacher" in json.loads((tmp_path / "taught" / "log.jsonl").read_text().splitlines()[0])
    assert tiles.main(["--card", str(card), "--pictures", str(pictures), "--tiles", "2x1", "--score", "0.3", "--out", str(tmp_path / "labels.json")]) == 0
    assert {"images", "annotations", "categories"} == json.loads((tmp_path / "labels.json").read_text()).keys()


def test_distilling_with_features(card, pictures, tmp_path, capsys):
    arguments = ["--teacher", str(card), "--student", str(card), "--pictures", str(pictures), "--steps", "2", "--batch", "2", "--out", str(tmp_path / "new"), "--no-program"]
    assert distill.main([*arguments, "--features", "0.5", "--feature", "sum", "--feature", "c2.clip:d1.clip"]) == 0
    assert (tmp_path / "new" / "step00000.png").exists()
    assert distill.main([*arguments, "--features", "0.5", "--feature", "nothing", "--out", str(tmp_path / "other")]) == 2
    assert "has no value nothing" in capsys.readouterr().err


def test_ablation_resumes_and_prints_a_table(card, pictures, tmp_path, capsys):
    arguments = ["--card", str(card), "--yolo", str(pictures), "--class", "red=0", "--class", "blue=1", "--crops", "60", "130", "--quarter-turns", "--steps", "2", "--batch", "2",
                 "--folds", "4", "--fold", "0", "--tiles", "2x1", "--out", str(tmp_path)]
    assert ablate.main([*arguments, "--only", "base", "none", "crops-off", "hard"]) == 0
    table = (tmp_path / "table.md").read_text()
    assert table.count("\n") == 6 and "| no augmentation: crops only |" in table and " of " in table
    saved = (tmp_path / "results.json").read_text()
    assert ablate.main([*arguments, "--only", "base", "none"]) == 0
    assert (tmp_path / "results.json").read_text() == saved
    assert ablate.merged(["--crops", "1", "2", "--quarter-turns", "--colour", ".4"], ["--no-crops", "--no-flip"]) == ["--quarter-turns", "--colour", ".4", "--no-flip"]


@pytest.mark.parametrize("arguments, said", [
    (["--steps", "0"], "expected a whole number of at least 1"), (["--mosaic", "1.5"], "expected a number from 0 to 1"),
    (["--folds", "3"], "--fold I from 0"), (["--rounds", "2"], "hard negatives are crops"), (["--class", "=1"], "expected NAME"),
    (["--tiles", "8"], "expected COLUMNSxROWS"),
])
def test_wrong_flags_say_what_is_expected(arguments, said, card, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        detect.main(["--card", str(card), "--yolo", str(pictures), "--class", "red=0", "--out", str(tmp_path), *arguments])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_what_is_missing_ends_with_one_line(card, pictures, tmp_path, capsys):
    for more in (["--card", str(tmp_path / "none.yaml")], ["--class", "green=3"], ["--yolo", str(tmp_path / "none")], ["--device", "moon"]):
        assert detect.main(["--card", str(card), "--yolo", str(pictures), "--class", "red=0", "--out", str(tmp_path / "o"), *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith("detect: ") and len(said.splitlines()) == 1


def test_the_root_is_the_checkout():
    assert OF_PROGRAM == ROOT
