//! Heads of detection networks: what their schema cannot express.

use crate::config::document::{PathSegment, key_path};
use crate::config::schema::{
    ActivationConfig, CenternetHeadConfig, GflHeadConfig, HeadConfig, RetinafaceHeadConfig,
    SsdHeadConfig, YoloHeadConfig,
};

/// An error at a path of the card.
type Found = (Vec<PathSegment>, String);

/// The errors of a head.
pub fn head_errors(head: &HeadConfig) -> Vec<Found> {
    let mut errors = Vec::new();
    errors.extend(head.ssd.as_ref().map(ssd).unwrap_or_default());
    errors.extend(head.yolo.as_ref().map(yolo).unwrap_or_default());
    errors.extend(head.gfl.as_ref().and_then(gfl));
    errors.extend(head.centernet.as_ref().map(centernet).unwrap_or_default());
    errors.extend(head.retinaface.as_ref().map(retinaface).unwrap_or_default());
    errors
}

fn ssd(ssd: &SsdHeadConfig) -> Vec<Found> {
    let mut errors = Vec::new();
    let mut error = |path: &[PathSegment], message: String| {
        errors.push(([&key_path!["head", "ssd"][..], path].concat(), message));
    };
    let kinds = [
        ("anchors", ssd.anchors.is_some()),
        ("multiscale_anchors", ssd.multiscale_anchors.is_some()),
        ("default_boxes", ssd.default_boxes.is_some()),
        ("fixed_anchors", ssd.fixed_anchors.is_some()),
        ("anchor_list", ssd.anchor_list.is_some()),
    ];
    let given: Vec<_> = kinds.iter().filter(|(_, is_given)| *is_given).collect();
    let names = "`anchors`, `multiscale_anchors`, `default_boxes`, `fixed_anchors`, `anchor_list`";
    match given[..] {
        [] => error(&[], format!("missing anchors; expected one of {names}")),
        [_] => {}
        [_, (second, _), ..] => {
            error(
                &key_path![*second],
                format!("expected one of {names}; got {}", given.len()),
            );
        }
    }
    if let Some(anchors) = &ssd.anchors {
        let (maps, scales) = (anchors.feature_maps.len(), anchors.scales.len());
        if maps != scales {
            let message =
                format!("expected one scale for each of {maps} feature maps; got {scales}");
            error(&key_path!["anchors", "scales"], message);
        }
    }
    if let Some(anchors) = &ssd.multiscale_anchors
        && anchors.min_level > anchors.max_level
    {
        let message = format!("expected at least `min_level`, {}", anchors.min_level);
        error(&key_path!["multiscale_anchors", "max_level"], message);
    }
    if let Some(boxes) = &ssd.default_boxes {
        let (maps, lists) = (boxes.feature_maps.len(), boxes.aspect_ratios.len());
        let is_positive = boxes
            .aspect_ratios
            .iter()
            .flatten()
            .all(|ratio| *ratio > 0.0);
        if maps != lists || !is_positive {
            let message = format!(
                "expected a list of numbers above 0 for each of {maps} feature maps; got {lists} lists"
            );
            error(&key_path!["default_boxes", "aspect_ratios"], message);
        }
    }
    if let Some(anchors) = &ssd.fixed_anchors
        && anchors.strides.len() != anchors.per_cell.len()
    {
        let (strides, got) = (anchors.strides.len(), anchors.per_cell.len());
        let message = format!("expected one number for each of {strides} strides; got {got}");
        error(&key_path!["fixed_anchors", "per_cell"], message);
    }
    if let Some(list) = &ssd.anchor_list {
        let given = [
            list.output.is_some(),
            list.initializer.is_some(),
            list.file.is_some(),
        ];
        let got = given.iter().filter(|is_given| **is_given).count();
        if got != 1 {
            let message =
                format!("expected one of `output`, `initializer` and `file`; got {got} of them");
            error(&key_path!["anchor_list"], message);
        }
    }
    errors
}

fn yolo(yolo: &YoloHeadConfig) -> Vec<Found> {
    let mut errors = Vec::new();
    let (expected, got) = (yolo.format.output_count(), yolo.outputs.len());
    if expected != got {
        let reason = match (&yolo.format.anchor_maps, &yolo.format.distribution_maps) {
            (Some(_), _) => "one for each of `maps`",
            (_, Some(maps)) if maps.split => "boxes and classes of each of `strides`",
            (_, Some(_)) => "one for each of `strides`",
            _ => "with all boxes",
        };
        errors.push((
            key_path!["head", "yolo", "outputs"].to_vec(),
            format!("expected {expected} ({reason}); got {got}"),
        ));
    }
    let has_nms = yolo.format.end_to_end.is_none();
    match yolo.nms_iou {
        None if has_nms => errors.push((
            key_path!["head", "yolo"].to_vec(),
            "missing key \"nms_iou\"; only `end_to_end` needs no non-maximum suppression"
                .to_owned(),
        )),
        Some(_) if !has_nms => errors.push((
            key_path!["head", "yolo", "nms_iou"].to_vec(),
            "not with `end_to_end`, which needs no non-maximum suppression".to_owned(),
        )),
        _ => {}
    }
    errors.extend(yolo_task(yolo));
    let maps = yolo.format.anchor_maps.iter().flat_map(|maps| &maps.maps);
    for (i, map) in maps.enumerate() {
        for (j, anchor) in map.anchors.iter().enumerate() {
            if !anchor.iter().all(|side| *side > 0.0) {
                let format = key_path!["head", "yolo", "format", "anchor_maps", "maps"];
                let anchor = key_path![i, "anchors", j];
                let message = "expected a width and a height above 0".to_owned();
                errors.push(([&format[..], &anchor[..]].concat(), message));
            }
        }
    }
    errors
}

/// What is wrong with keypoints and prototypes.
fn yolo_task(yolo: &YoloHeadConfig) -> Vec<Found> {
    let has_rows = yolo.format.rows.is_some() || yolo.format.end_to_end.is_some();
    let given = [
        ("kpt_shape", yolo.kpt_shape.is_some()),
        ("prototypes", yolo.prototypes.is_some()),
    ];
    let mut errors = Vec::new();
    let mut error = |key: &'static str, message: &str| {
        errors.push((key_path!["head", "yolo", key].to_vec(), message.to_owned()));
    };
    for (key, _) in given
        .into_iter()
        .filter(|(_, is_given)| *is_given && !has_rows)
    {
        error(key, "only valid with the formats `rows` and `end_to_end`");
    }
    if given.iter().all(|(_, is_given)| *is_given) {
        error(
            "prototypes",
            "expected one of `kpt_shape` and `prototypes`; got both",
        );
    }
    if yolo
        .kpt_shape
        .is_some_and(|[count, values]| !(1..=1000).contains(&count) || !(2..=3).contains(&values))
    {
        error(
            "kpt_shape",
            "expected the number of keypoints, 1 to 1000, and values of each, 2 or 3",
        );
    }
    errors
}

fn gfl(gfl: &GflHeadConfig) -> Option<Found> {
    let expected = if gfl.joined { 1 } else { 2 * gfl.strides.len() };
    let got = gfl.outputs.len();
    let reason = if gfl.joined {
        "`joined`"
    } else {
        "class scores of each of `strides`, then distributions of each"
    };
    (expected != got).then(|| {
        (
            key_path!["head", "gfl", "outputs"].to_vec(),
            format!("expected {expected} ({reason}); got {got}"),
        )
    })
}

fn centernet(centernet: &CenternetHeadConfig) -> Vec<Found> {
    let mut errors = Vec::new();
    if centernet.activation == ActivationConfig::Softmax {
        errors.push((
            key_path!["head", "centernet", "activation"].to_vec(),
            "expected one of none, sigmoid; got softmax".to_owned(),
        ));
    }
    errors
}

fn retinaface(retinaface: &RetinafaceHeadConfig) -> Vec<Found> {
    let mut errors = Vec::new();
    let (maps, sizes) = (retinaface.strides.len(), &retinaface.prior_sizes_px);
    if maps != sizes.len() {
        errors.push((
            key_path!["head", "retinaface", "prior_sizes_px"].to_vec(),
            format!(
                "expected one list for each of {maps} strides; got {}",
                sizes.len()
            ),
        ));
    }
    for (i, sizes) in sizes.iter().enumerate() {
        if sizes.is_empty() || !sizes.iter().all(|side| *side > 0.0) {
            errors.push((
                key_path!["head", "retinaface", "prior_sizes_px", i].to_vec(),
                "expected at least one size, each above 0".to_owned(),
            ));
        }
    }
    if !retinaface.variances.iter().all(|variance| *variance > 0.0) {
        errors.push((
            key_path!["head", "retinaface", "variances"].to_vec(),
            "expected numbers above 0".to_owned(),
        ));
    }
    errors
}
