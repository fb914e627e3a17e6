//! Joining the detections of tiles and of the whole picture.
//!
//! A tile shows objects larger, but cut off at its borders and without what is around them. So:
//!
//! 1. Boxes that are not cut by a border inside the picture are merged class by class ([`TileMerge`]).
//! 2. A box cut by such a border is a fragment: of the object whose part in this tile it matches, in any
//!    class. It is dropped, and raises that object's score halfway to its own. Without such an object it is
//!    dropped as well if the whole picture was looked at, as what is too large for the overlap of two tiles
//!    is large enough there.
//! 3. What a tile shows and the whole picture does not, although it is large enough there, is doubtful: its
//!    score is scaled down with its area.
//!
//! Weighted boxes fusion is after Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes
//! from different object detection models" (2019), section 3; rule 3 takes the place of its rescaling by the
//! number of models.

use super::detection::Detection;
use mobilens_image::{RectPx, SizePx};

/// How boxes of one object in several tiles become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TileMerge {
    /// Non-maximum suppression: the best of boxes whose IoU is above the threshold.
    Nms,
    /// The best of boxes whose intersection over the smaller area is above the threshold.
    Smaller,
    /// Weighted boxes fusion: the mean of boxes whose IoU is above the threshold, weighted by their scores,
    /// with the mean of the best score in each tile.
    #[default]
    Fusion,
}

/// How the detections of several looks at a picture are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JoinParams {
    /// How boxes of one object become one.
    pub merge: TileMerge,
    /// IoU, or intersection over the smaller area, above which boxes of a class are one object.
    pub overlap: f32,
    /// Most detections of the picture.
    pub limit: usize,
}

/// Detections of one crop of a picture, or of all of it, in pixels of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct CropDetections {
    /// The crop.
    pub crop: RectPx,
    /// Its detections.
    pub detections: Vec<Detection>,
}

/// Pixels from a crop's border within which a box counts as cut.
const BORDER_PX: f32 = 3.0;
/// IoU of a fragment with the part of an object that its tile shows.
const FRAGMENT_IOU: f32 = 0.5;
/// Share of a fragment that lies in an object of its class.
const FRAGMENT_COVERAGE: f32 = 0.6;
/// Score from which the whole picture bears out what a tile shows.
pub const SUPPORT_SCORE: f32 = 0.15;
/// IoU of a tile's box with one of the whole picture that bears it out.
const SUPPORT_IOU: f32 = 0.5;
/// Share of the picture's area up to which an object may be too small for the whole picture.
const SMALL_SHARE: f32 = 0.016;

/// An object, and the boxes that it was made of.
struct Cluster<'a> {
    category_id: u32,
    rect: RectPx,
    /// The best box, whose keypoints and mask it has.
    first: &'a Detection,
    /// The best box's score, or the mean of the looks.
    score: f32,
    /// Sum of the scores: the weight of the box.
    weight: f32,
    /// The looks that show it, and the sum of the best score of each.
    looks: Vec<usize>,
    best: f32,
    /// Greatest score of a box of the whole picture.
    whole: f32,
}

/// A detection, and which look it is from.
#[derive(Clone, Copy)]
struct Sighting<'a> {
    detection: &'a Detection,
    look: usize,
    is_whole: bool,
}

/// Joins what `looks` show of a picture of `size`; best score first. Of equal scores that of the first look
/// comes first.
pub fn join_tiles(looks: &[CropDetections], size: SizePx, params: &JoinParams) -> Vec<Detection> {
    let has_whole = looks.iter().any(|look| is_whole(&look.crop, size));
    let (mut entire, mut cut) = (Vec::new(), Vec::new());
    for (number, look) in looks.iter().enumerate() {
        for detection in &look.detections {
            let sighting = Sighting {
                detection,
                look: number,
                is_whole: is_whole(&look.crop, size),
            };
            if is_cut(&detection.rect, &look.crop, size) {
                cut.push(sighting);
            } else {
                entire.push(sighting);
            }
        }
    }
    let by_score =
        |a: &Sighting<'_>, b: &Sighting<'_>| b.detection.score.total_cmp(&a.detection.score);
    entire.sort_by(by_score);
    cut.sort_by(by_score);
    let mut objects = merged(&entire, params);
    let mut left = Vec::new();
    for fragment in &cut {
        if !absorb_mut(&mut objects, fragment, &looks[fragment.look].crop) && !has_whole {
            left.push(fragment.detection);
        }
    }
    if has_whole {
        for object in &mut objects {
            doubt_mut(object, &entire, size);
        }
    }
    let mut joined: Vec<Detection> = objects
        .iter()
        .map(|object| Detection {
            category_id: object.category_id,
            score: object.score,
            rect: object.rect,
            ..object.first.clone()
        })
        .collect();
    for fragment in left {
        let is_double = |other: &Detection| {
            other.category_id == fragment.category_id
                && (other.rect.iou(&fragment.rect) > params.overlap
                    || covered(&fragment.rect, &other.rect) > FRAGMENT_COVERAGE)
        };
        if !joined.iter().any(is_double) {
            joined.push(fragment.clone());
        }
    }
    joined.sort_by(|a, b| b.score.total_cmp(&a.score));
    joined.truncate(params.limit);
    joined
}

/// Boxes of one object as one; `entire` is sorted, best score first.
fn merged<'a>(entire: &[Sighting<'a>], params: &JoinParams) -> Vec<Cluster<'a>> {
    let mut objects: Vec<Cluster<'a>> = Vec::new();
    for Sighting {
        detection,
        look,
        is_whole,
    } in entire
    {
        let overlap = |object: &Cluster| match params.merge {
            TileMerge::Smaller => over_smaller(&object.rect, &detection.rect),
            TileMerge::Nms | TileMerge::Fusion => object.rect.iou(&detection.rect),
        };
        let of_class = objects
            .iter_mut()
            .filter(|object| object.category_id == detection.category_id);
        let same = of_class
            .map(|object| (overlap(object), object))
            .filter(|(overlap, _)| *overlap > params.overlap);
        // The first of equal ones.
        let same = same.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let whole = if *is_whole { detection.score } else { 0.0 };
        let Some((_, object)) = same else {
            objects.push(Cluster {
                category_id: detection.category_id,
                rect: detection.rect,
                first: detection,
                score: detection.score,
                weight: detection.score,
                looks: vec![*look],
                best: detection.score,
                whole,
            });
            continue;
        };
        object.whole = object.whole.max(whole);
        if params.merge == TileMerge::Fusion {
            object.weight += detection.score;
            if object.weight > 0.0 {
                let share = detection.score / object.weight;
                object.rect = weighted_mean(&object.rect, &detection.rect, share);
            }
            // Sorted: the first of a look is its best.
            if !object.looks.contains(look) {
                object.looks.push(*look);
                object.best += detection.score;
                object.score = object.best / object.looks.len() as f32;
            }
        }
    }
    objects
}

/// Lowers the score of what the whole picture should show and does not.
fn doubt_mut(object: &mut Cluster<'_>, entire: &[Sighting<'_>], size: SizePx) {
    let bears_out = |seen: &Sighting<'_>| {
        seen.is_whole
            && seen.detection.score >= SUPPORT_SCORE
            && seen.detection.category_id == object.category_id
            && seen.detection.rect.iou(&object.rect) > SUPPORT_IOU
    };
    let share = object.rect.area() / (size.width as f32 * size.height as f32);
    if object.whole >= SUPPORT_SCORE || share <= SMALL_SHARE || entire.iter().any(bears_out) {
        return;
    }
    // Never below what the whole picture says of it.
    object.score = (object.score * SMALL_SHARE / share).max(object.whole);
}

/// Gives a fragment to the object that it is a part of; whether there is one.
fn absorb_mut(objects: &mut [Cluster<'_>], fragment: &Sighting<'_>, tile: &RectPx) -> bool {
    let &Detection {
        category_id,
        score,
        rect,
        ..
    } = fragment.detection;
    let mut is_absorbed = false;
    for object in objects {
        let shows =
            intersection(&object.rect, tile).is_some_and(|part| part.iou(&rect) > FRAGMENT_IOU);
        let is_same = object.category_id == category_id;
        if is_same && shows {
            object.score = object.score.max(f32::midpoint(object.score, score));
            return true;
        }
        is_absorbed |= shows || is_same && covered(&rect, &object.rect) > FRAGMENT_COVERAGE;
    }
    is_absorbed
}

/// Whether a crop is all of a picture of `size`.
fn is_whole(crop: &RectPx, size: SizePx) -> bool {
    crop.width >= size.width as f32 && crop.height >= size.height as f32
}

/// Whether a box ends at a border of its crop that is not a border of the picture.
fn is_cut(rect: &RectPx, crop: &RectPx, size: SizePx) -> bool {
    let (right, lower) = (crop.x + crop.width, crop.y + crop.height);
    (crop.x > 0.0 && rect.x - crop.x < BORDER_PX)
        || (crop.y > 0.0 && rect.y - crop.y < BORDER_PX)
        || (right < size.width as f32 && right - rect.x - rect.width < BORDER_PX)
        || (lower < size.height as f32 && lower - rect.y - rect.height < BORDER_PX)
}

/// `a` moved towards `b` by `share`, 0 to 1.
fn weighted_mean(a: &RectPx, b: &RectPx, share: f32) -> RectPx {
    let mean = |a: f32, b: f32| a + (b - a) * share;
    RectPx {
        x: mean(a.x, b.x),
        y: mean(a.y, b.y),
        width: mean(a.width, b.width),
        height: mean(a.height, b.height),
    }
}

fn intersection(a: &RectPx, b: &RectPx) -> Option<RectPx> {
    let (x, y) = (a.x.max(b.x), a.y.max(b.y));
    let width = (a.x + a.width).min(b.x + b.width) - x;
    let height = (a.y + a.height).min(b.y + b.height) - y;
    (width > 0.0 && height > 0.0).then_some(RectPx {
        x,
        y,
        width,
        height,
    })
}

/// The share of `a` that lies in `b`.
fn covered(a: &RectPx, b: &RectPx) -> f32 {
    intersection(a, b).map_or(0.0, |both| both.area()) / a.area().max(1e-6)
}

/// Intersection over the smaller area.
fn over_smaller(a: &RectPx, b: &RectPx) -> f32 {
    covered(a, b).max(covered(b, a))
}

#[cfg(test)]
mod tests;
