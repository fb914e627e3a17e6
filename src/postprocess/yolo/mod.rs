//! YOLO decoder: the raw or decoded outputs of YOLOv2 to v12 and YOLOX to detections.
//!
//! `C` is the number of classes, `A` that of anchors in a cell, `N` that of predictions, `h` and `w` the
//! rows and columns of cells, `R` the bins of a distribution. `x, y` are pixels of the network's input.
//!
//! | [`YoloFormat`] | exports | outputs | values |
//! |---|---|---|---|
//! | `AnchorMaps` | YOLOv2; v3, v4; v5, v7 raw | one `[1, A*(5+C), h, w]` a stride | tx, ty, tw, th, objectness, classes: logits |
//! | `Rows` with objectness | v5, v6, v7 | one `[1, N, 5+C]` | cx, cy, w, h, objectness, classes: scores |
//! | `Rows` without | v8, v9, v11, v12 | one `[1, 4+C, N]` | cx, cy, w, h, classes: scores |
//! | `DistributionMaps` | v8, v9, v11, v12 raw; v6 raw | one `[1, 4*R+C, h, w]` a stride | left, top, right, bottom: `R` logits each; classes: logits |
//! | `DistributionMaps`, split | the same, as edge runtimes export them | `[1, 4*R, h, w]` and `[1, C, h, w]` a stride | the same |
//! | `GridRows` | YOLOX | one `[1, N, 5+C]` | offset from the cell, log of the size, in strides; objectness, classes: scores |
//! | `EndToEnd` | v10 and newer | one `[1, K, 6]` | x1, y1, x2, y2, score, class |
//!
//! Behind the classes of `Rows` and `EndToEnd` there may be, as [`YoloTask`] says:
//!
//! | exports | outputs | values |
//! |---|---|---|
//! | pose | `[1, 4+C+K*3, N]`, `[1, K', 6+K*3]` | `K` times x, y, visibility (or x, y alone) |
//! | segmentation | `[1, 4+C+M, N]`, `[1, K', 6+M]`; prototypes `[1, M, H/4, W/4]` | `M` coefficients (32), see [`InstanceMask`](super::InstanceMask) |
//!
//! With cell `(i, j)` (column, row), stride `s`, anchor `(pw, ph)`, and `S` the sigmoid:
//!
//! | format | centre or edges | size | score |
//! |---|---|---|---|
//! | YOLOv2 (Redmon and Farhadi, "YOLO9000", section 2) | `(S(tx) + i) s` | `pw exp(tw)` | `S(objectness)` softmax(classes) |
//! | YOLOv3 (Redmon and Farhadi, section 2.1) | `(S(tx) + i) s` | `pw exp(tw)` | `S(objectness) S(class)` |
//! | YOLOv4 (Bochkovskiy et al., section 3.4, grid sensitivity `a`) | `(a S(tx) - (a-1)/2 + i) s` | `pw exp(tw)` | the same |
//! | YOLOv5 (`Detect` of ultralytics/yolov5), YOLOv7 | `(2 S(tx) - 1/2 + i) s` | `pw (2 S(tw))^2` | the same |
//! | distribution (Li et al., "Generalized Focal Loss", section 3.3) | `(i + 1/2 - E(left)) s` to `(i + 1/2 + E(right)) s` | | `S(class)` |
//! | YOLOX (Ge et al., section 2.1) | `(tx + i) s` | `exp(tw) s` | objectness x class |
//!
//! NMS is per class, on boxes that are not yet clipped. Values that are not finite give no detection.

mod decoder;
mod params;
mod shapes;
#[cfg(test)]
mod tests;

pub use decoder::YoloDecoder;
pub use params::{
    AnchorMapLayout, AnchorUnit, SizeCoding, YoloAnchorMap, YoloFormat, YoloParams, YoloTask,
};
