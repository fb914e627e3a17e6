"""The end of `segment` and of `classify`, which keep pictures aside: float and int8 by the program, side by side."""
import json

import numpy as np
import pytest
import yaml
from conftest import draw_colours, draw_masks
from mobilens_train import classify, distill_segmentation, evaluate, finish, segment
from mobilens_train.data import DataError
from mobilens_train.program import ProgramFailed
from PIL import Image

SHORT = ["--batch", "4", "--threads", "1", "--warm-up", "2", "--average", "0.9", "--schedule", "constant", "--hold-out", "0.25", "--colour", "0.1"]


def segmented(data, out, *more, steps=60):
    return segment.main([
        "--masks", str(data), "--class", "background=0", "--class", "red=5", "--backbone", "mobilenet_v1", "--alpha", "0.25", "--rho-size", "65",
        "--aspp", "16", "--skip", "8", "--decoder", "16", "--rates", "1", "2", "--scales", "0.9", "1.2", "--steps", str(steps), "--rate", "0.05",
        *SHORT, "--out", str(out), *more])


def classified(data, out, *more, steps=40):
    return classify.main([
        "--folder", str(data), "--backbone", "mobilenet_v1", "--alpha", "0.25", "--rho-size", "32", "--freeze-norms", "--steps", str(steps), "--rate", "0.01",
        *SHORT, "--out", str(out), *more])


def cards_of(out):
    return [yaml.safe_load((out / f"{out.name}{kind}.yaml").read_text()) for kind in ("", "_int8")]


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    # Larger than the input, as photographs are, and noisy: the program must make them smaller as the training does.
    draw_masks(folder, 12, size=(256, 192), noise=255)
    return folder


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coloured")
    draw_colours(folder, 12)
    return folder


@pytest.fixture(scope="module")
def segmenter(masked, tmp_path_factory, mobilens):
    """A network that is trained, and what was said."""
    out = tmp_path_factory.mktemp("segmenter") / "red"
    assert segmented(masked, out, "--int8", "--mobilens", mobilens, "--licence", "CC0-1.0") == 0
    return out


@pytest.fixture(scope="module")
def classifier(coloured, tmp_path_factory, mobilens):
    out = tmp_path_factory.mktemp("classifier") / "looks"
    assert classified(coloured, out, "--int8", "--mobilens", mobilens) == 0
    return out


def test_segmentation_ends_with_float_and_int8_side_by_side(segmenter, masked, mobilens, capsys):
    # Done already: the same command does the end again.
    assert segmented(masked, segmenter, "--int8", "--mobilens", mobilens, "--licence", "CC0-1.0") == 0
    said = capsys.readouterr().out
    assert "100.0% of the multiplications run on own kernels" in said and "accepted by mobilens check" in said
    assert "| model | mean_iou | pixel_accuracy | pictures |" in said and "| red | 0." in said and "| red_int8 | 0." in said
    figures = json.loads((segmenter / "accuracy.json").read_text())
    in_torch = float(said.split("in PyTorch mIoU ")[1].split(",")[0])
    # As good as it gets with a red square on noise, and the same as in PyTorch; int8 close to it.
    assert in_torch > 0.8 and abs(figures["red"]["mean_iou"] - in_torch) < 0.02
    assert abs(figures["red_int8"]["mean_iou"] - figures["red"]["mean_iou"]) < 0.05
    for card, row in zip(cards_of(segmenter), figures.values()):
        iou, right = (f"{row[key]:.3f}"[1:] for key in ("mean_iou", "pixel_accuracy"))
        assert card["accuracy"] == f"mIoU {iou}, pixel accuracy {right} on 3 pictures kept aside"
        assert card["licence"] == "CC0-1.0" and card["source"].startswith("trained from DeepLabv3+ at output stride 16 on mobilenet_v1 (alpha 0.25) with random weights on ")
        assert "(9 pictures); 60 steps of 4, rate 0.05, seed 0" in card["source"] and str(masked.parent) not in card["source"]
    assert "9 samples" in cards_of(segmenter)[1]["converted"]


def test_segmentation_is_measured_and_calibrated_as_it_is_used(segmenter, masked):
    held = sorted((segmenter / "validate" / "pictures").glob("*"))
    assert len(held) == len(list((segmenter / "validate" / "masks").glob("*.png"))) == 3
    sources = {path.read_bytes(): path for path in (masked / "images").iterdir()}
    for picture in held:
        # The class's index, not the value 5 of the training's masks.
        of_training = np.array(Image.open(masked / "masks" / sources[picture.read_bytes()].name)) == 5
        assert (np.array(Image.open(segmenter / "validate" / "masks" / f"{picture.stem}.png")) == of_training).all() and of_training.any()
    samples = [np.array(Image.open(path)) for path in sorted((segmenter / "calibration").iterdir())]
    # 65x49 pixels in a square of 65: the rest is the card's padding.
    assert len(samples) == 9 and all(sample.shape == (65, 65, 3) and (sample[49:] == [124, 116, 104]).all() and sample[:49].std() > 9 for sample in samples)


def test_segmentation_is_measured_on_given_pictures(segmenter, masked, tmp_path, mobilens, capsys):
    # The values of these masks are the card's ids.
    draw_masks(tmp_path / "other", 4, seed=3, size=(256, 192), value=1, noise=255)
    given = ["--validate", str(tmp_path / "other" / "masks"), str(tmp_path / "other" / "images"), "--mobilens", mobilens]
    assert segmented(masked, segmenter, *given, "--name", "again") == 0
    figures = json.loads((segmenter / "accuracy.json").read_text())
    assert figures.keys() == {"again"} and figures["again"]["pictures"] == 4 and figures["again"]["mean_iou"] > 0.8
    assert yaml.safe_load((segmenter / "again.yaml").read_text())["accuracy"].endswith(" on 4 pictures")
    assert segmented(masked, segmenter, "--validate", str(tmp_path / "other"), "--mobilens", mobilens, "--name", "again") == 2
    assert capsys.readouterr().err == "segment: --validate of a segmentation model wants FILE.json DIR, or MASKS DIR\n"


def test_classification_ends_with_float_and_int8_side_by_side(classifier, coloured, mobilens, capsys):
    assert classified(coloured, classifier, "--int8", "--mobilens", mobilens) == 0
    said = capsys.readouterr().out
    assert "100.0% of the multiplications run on own kernels" in said and "accepted by mobilens check" in said
    assert "| model | best1 | pictures |" in said and "| looks | " in said and "| looks_int8 | " in said
    figures = json.loads((classifier / "accuracy.json").read_text())
    in_torch = float(said.split("in PyTorch best class right ")[1].split()[0])
    # At most one of the six pictures otherwise.
    assert in_torch > 0.8 and all(abs(row["best1"] - in_torch) < 0.17 and row["pictures"] == 6 for row in figures.values())
    for card, row in zip(cards_of(classifier), figures.values()):
        right = f"{row['best1']:.3f}".replace("0.", ".")
        assert card["accuracy"] == f"best class right {right} on 6 pictures kept aside" and "mobilenet_v1 (alpha 0.25) with random weights" in card["source"]
    assert "18 samples" in cards_of(classifier)[1]["converted"]
    # Whole pictures, their shorter side as the card scales it: the program takes the middle.
    assert {Image.open(path).size for path in (classifier / "calibration").iterdir()} == {(45, 36)}


def test_classification_is_measured_on_given_pictures(classifier, coloured, tmp_path, mobilens, capsys):
    draw_colours(tmp_path / "other", 3, seed=9)
    # Of a class in the other's folder none is right.
    (tmp_path / "other" / "red" / "00.png").replace(tmp_path / "other" / "blue" / "red.png")
    given = ["--mobilens", mobilens, "--name", "again", "--validate"]
    assert classified(coloured, classifier, *given, str(tmp_path / "other")) == 0
    figures = json.loads((classifier / "accuracy.json").read_text())
    assert figures == {"again": {"best1": pytest.approx(5 / 6), "pictures": 6}}
    assert yaml.safe_load((classifier / "again.yaml").read_text())["accuracy"] == "best class right .833 on 6 pictures"
    (tmp_path / "other" / "green").mkdir()
    assert classified(coloured, classifier, *given, str(tmp_path / "other")) == 2
    assert classified(coloured, classifier, *given, str(tmp_path), str(coloured)) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "the class green is not among those" in first and "wants one folder" in second


def test_best_five_are_counted_of_more_than_five_classes(tmp_path, monkeypatch):
    ranks = {"1.png": "abcde", "2.png": "bacde", "3.png": "fabcd", "4.png": "bcdef"}

    def call(program, pipeline, *arguments):
        lines = [{"type": "run"}, *({"type": "frame", "name": name, "classification": [{"label": kind} for kind in kinds]} for name, kinds in ranks.items()), {"type": "end"}]
        arguments[arguments.index("--output") + 1].write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(evaluate, "call", call)
    wanted = dict.fromkeys(ranks, "a")
    figures = evaluate.evaluate_classifier("mobilens", "pipeline.yaml", tmp_path / "card.yaml", tmp_path, wanted, 6)
    assert figures == {"best1": 0.25, "best5": 0.75, "pictures": 4}
    assert evaluate.text_of(figures) == "best class right .250, among the best five .750 on 4 pictures"
    del ranks["2.png"], ranks["4.png"]
    with pytest.raises(ProgramFailed, match="has no class of 2.png and 1 more"):
        evaluate.evaluate_classifier("mobilens", "pipeline.yaml", tmp_path / "card.yaml", tmp_path, wanted, 6)


def test_without_the_program_file_and_card_are_written(masked, coloured, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(finish, "find_program", lambda given: None)
    for recipe, data, figure in ((segmented, masked, "in PyTorch mIoU "), (classified, coloured, "in PyTorch best class right ")):
        out = tmp_path / recipe.__name__
        assert recipe(data, out, "--int8", steps=2) == 0
        assert "WARNING: the program mobilens was not found" in capsys.readouterr().err
        card = yaml.safe_load((out / f"{out.name}.yaml").read_text())
        assert card["sha256"] == finish.sha256_of(out / card["file"]) and card["accuracy"].startswith(figure)
        assert not (out / f"{out.name}_int8.yaml").exists()


def test_a_checkpoint_of_other_settings_is_refused_in_one_line(masked, coloured, tmp_path, capsys):
    for recipe, data in ((segmented, masked), (classified, coloured)):
        out = tmp_path / recipe.__name__
        assert recipe(data, out, "--no-program", steps=2) == 0
        # What does not change the result may differ.
        assert recipe(data, out, "--no-program", "--name", "other", "--validate-every", "1", steps=2) == 0
        capsys.readouterr()
        assert recipe(data, out, "--no-program", "--smoothing", "0.2", steps=3) == 2
        said = capsys.readouterr().err
        assert "is of a run with smoothing 0.0, now 0.2; steps 2, now 3: use another --out" in said and said.count("\n") == 1


def test_the_end_of_a_run_that_stopped_early_says_how_long_it_was(coloured, tmp_path):
    # After the first step the loss has not fallen for longer than it may.
    assert classified(coloured, tmp_path / "early", "--no-program", "--patience", "1", "--rate", "3", steps=40) == 0
    steps = len((tmp_path / "early" / "log.jsonl").read_text().splitlines())
    assert steps < 40 and f"; {steps} steps of 4" in yaml.safe_load((tmp_path / "early" / "early.yaml").read_text())["source"]


def test_a_segmenter_that_is_distilled_has_the_same_end(segmenter, masked, tmp_path, mobilens, capsys):
    card = str(segmenter / "red.yaml")
    draw_masks(tmp_path / "other", 4, seed=3, value=1)
    assert distill_segmentation.main([
        "--teacher", card, "--student", card, "--pictures", str(masked / "images"), "--crop", "65", "--steps", "2", "--batch", "2", "--threads", "1", "--rate", "1e-5",
        "--out", str(tmp_path / "student"), "--int8", "--mobilens", mobilens, "--validate", str(tmp_path / "other" / "masks"), str(tmp_path / "other" / "images")]) == 0
    assert "| student_int8 | 0." in capsys.readouterr().out
    for card in cards_of(tmp_path / "student"):
        assert card["accuracy"].startswith("mIoU .") and card["source"].count("trained from ") == 2 and "by the outputs of red" in card["source"]


def test_pictures_that_are_gone_are_named(tmp_path):
    with pytest.raises(DataError, match="gone.png: no such picture"):
        evaluate.copy_pictures(tmp_path / "validate", [tmp_path / "gone.png"])
