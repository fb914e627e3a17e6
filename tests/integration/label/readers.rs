//! Readers of the formats of labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{parse, read};

/// Class and box `[x, y, width, height]` of each label, by picture.
pub type Labels = BTreeMap<String, Vec<(String, [f64; 4])>>;

pub fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub fn four(value: &Value) -> [f64; 4] {
    std::array::from_fn(|i| number(&value[i]))
}

pub fn entries(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Reads COCO instances.
pub fn coco(dir: &Path) -> Labels {
    let file = parse(&dir.join("instances.json"));
    let named = |list: &Value, key: &str| -> BTreeMap<u64, String> {
        let list = entries(list).iter();
        list.map(|e| (e["id"].as_u64().expect("an id"), text(&e[key])))
            .collect()
    };
    let images = named(&file["images"], "file_name");
    let categories = named(&file["categories"], "name");
    let mut labels: Labels = images.values().map(|n| (n.clone(), Vec::new())).collect();
    for annotation in entries(&file["annotations"]) {
        let id = |key: &str| annotation[key].as_u64().expect("an id");
        let bbox = four(&annotation["bbox"]);
        assert!((number(&annotation["area"]) - bbox[2] * bbox[3]).abs() < 0.01);
        let of_image = labels.get_mut(&images[&id("image_id")]).expect("an image");
        of_image.push((categories[&id("category_id")].clone(), bbox));
    }
    labels
}

/// Reads the XML of "CVAT for images 1.1".
pub fn cvat(dir: &Path) -> Labels {
    let xml = read(&dir.join("annotations.xml"));
    let attribute = |line: &str, name: &str| -> String {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).expect(name);
        rest.split('"').next().expect("quoted").to_owned()
    };
    let (mut labels, mut last) = (Labels::new(), String::new());
    for line in xml.lines().map(str::trim_start) {
        if line.starts_with("<image ") {
            last = attribute(line, "name");
            labels.insert(last.clone(), Vec::new());
        } else if line.starts_with("<box ") {
            let [left, top, right, bottom] = ["xtl", "ytl", "xbr", "ybr"]
                .map(|name| attribute(line, name).parse::<f64>().expect("a number"));
            let bbox = [left, top, right - left, bottom - top];
            let of_image = labels.get_mut(&last).expect("an image");
            of_image.push((attribute(line, "label"), bbox));
        }
    }
    let names = parse(&dir.join("labels.json"));
    let names = entries(&names).iter().map(|label| text(&label["name"]));
    for name in names {
        assert!(xml.contains(&format!("<name>{name}</name>")), "{xml}");
    }
    labels
}

/// Reads Label Studio's tasks.
pub fn label_studio(dir: &Path) -> Labels {
    let tasks = parse(&dir.join("tasks.json"));
    let config = read(&dir.join("label_config.xml"));
    let tasks = entries(&tasks).iter().map(|task| {
        let url = text(&task["data"]["image"]);
        let name = url.strip_prefix("/data/local-files/?d=labels/images/");
        let regions = entries(&task["predictions"][0]["result"]).iter();
        let regions = regions.map(|region| {
            assert!(config.contains(&format!("<RectangleLabels name={}", region["from_name"])));
            assert!(config.contains(&format!("<Image name={}", region["to_name"])));
            let [width, height] = ["original_width", "original_height"].map(|k| number(&region[k]));
            let value = &region["value"];
            let place = ["x", "y", "width", "height"].map(|key| number(&value[key]) / 100.0);
            let bbox = [
                place[0] * width,
                place[1] * height,
                place[2] * width,
                place[3] * height,
            ];
            let class = text(&value["rectanglelabels"][0]);
            assert!(config.contains(&format!("<Label value=\"{class}\"/>")));
            (class, bbox)
        });
        (name.expect("a local file").to_owned(), regions.collect())
    });
    tasks.collect()
}

/// Reads YOLO's text files.
pub fn yolo(dir: &Path) -> Labels {
    let data: Value = serde_yaml::from_str(&read(&dir.join("data.yaml"))).expect("YAML");
    let images = dir.join(text(&data["train"]));
    let pictures = fs::read_dir(&images).expect("a folder");
    let pictures = pictures.map(|entry| {
        let path = entry.expect("an entry").path();
        let (width, height) = image::image_dimensions(&path).expect("a picture");
        let name = path.file_name().expect("a name").display().to_string();
        let lines = read(&dir.join("labels").join(&name).with_extension("txt"));
        let objects = lines.lines().map(|line| {
            let mut words = line.split(' ');
            let class = words.next().expect("a class");
            let place: Vec<f64> = words.map(|w| w.parse().expect("a number")).collect();
            let (w, h) = (place[2] * f64::from(width), place[3] * f64::from(height));
            let x = place[0] * f64::from(width) - w / 2.0;
            let y = place[1] * f64::from(height) - h / 2.0;
            (text(&data["names"][class]), [x, y, w, h])
        });
        (name, objects.collect())
    });
    pictures.collect()
}
