"""Formats of labelled pictures, and what is said of wrong ones."""
import json

import numpy as np
import pytest
from mobilens_train.data import DataError, read_coco, read_voc, read_yolo, write_coco


def test_yolo_and_coco_say_the_same(pictures, tmp_path):
    yolo = read_yolo(pictures, [1, 0])
    write_coco(tmp_path / "labels.json", yolo, ["blue", "red"], pictures)
    coco = read_coco(tmp_path / "labels.json", pictures, ["red", "blue"])
    assert len(coco) == len(yolo) == 12
    for a, b in zip(yolo, coco):
        assert np.allclose(a.boxes, b.boxes, atol=1e-4) and np.array_equal(1 - a.classes, b.classes) and a.path == b.path
    with pytest.raises(DataError, match="none of the classes green"):
        read_coco(tmp_path / "labels.json", pictures, ["green"])


def test_crowds_and_difficult_objects_are_ignored(tmp_path):
    data = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 3, "name": "car"}],
            "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1}]}
    (tmp_path / "c.json").write_text(json.dumps(data))
    (one,) = read_coco(tmp_path / "c.json", tmp_path, ["car"])
    assert one.ignored.tolist() == [[1, 2, 4, 6]] and len(one.boxes) == 0
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/trainval.txt").write_text("a\n")
    thing = "<object><name>car</name><difficult>{}</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax></bndbox></object>"
    (tmp_path / "Annotations/a.xml").write_text(f"<annotation>{thing.format(0)}{thing.format(1)}</annotation>")
    (one,) = read_voc(tmp_path, ["car"])
    assert one.boxes.tolist() == [[0, 1, 10, 11]] and len(one.ignored) == 1


def test_pictures_behind_links_are_read(pictures, tmp_path):
    (tmp_path / "images").symlink_to(pictures)
    assert [len(p.boxes) for p in read_yolo(tmp_path, [0, 1])] == [len(p.boxes) for p in read_yolo(pictures, [0, 1])]


def test_a_wrong_line_is_named(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\ncar\n")
    with pytest.raises(DataError, match="a.txt: line 2"):
        read_yolo(tmp_path, [0])
    with pytest.raises(DataError, match="no pictures"):
        read_yolo(tmp_path / "none", [0])


def test_pictures_without_labels_are_no_evaluation(pictures, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert len(read_yolo(tmp_path, [0])) == 1
    with pytest.raises(DataError, match="no pictures with labels"):
        read_yolo(tmp_path, [0], labelled_only=True)
