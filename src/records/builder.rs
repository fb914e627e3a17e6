//! Builds frame and event records from detections and segmented areas.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::analytics::{AreaEvent, AreaKind, AreaPhase, AreaRule};
use crate::frame::{FrameMeta, GeoPoint, Region, Telemetry};
use crate::postprocess::{
    Classification, Detection, Keypoint, Labels, Prediction, Segmentation, UNKNOWN,
};
use crate::telemetry::GroundProjection;
use mobilens_image::{RectPx, SizePx};

use super::polygons::polygons_of;
use super::record::{
    ClassAreaRecord, ClassificationRecord, DetectionRecord, EventRecord, FrameRecord,
    KeypointRecord, LookRecord, ModelRunRecord, SafeGroundRecord, SegmentationRecord,
};
use super::record_box::RecordBox;
use super::rle::{rle_of, rles_of};
use super::rounding::rounded;

/// From this gimbal pitch down the camera looks from above, and the centre of a box is taken as its
/// object's position; else the middle of its lower edge is.
const FROM_ABOVE_DEG: f64 = -60.0;

/// How records hold the pixels of each segmented class, besides the class's share of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskEncodings {
    /// As COCO run lengths.
    pub rle: bool,
    /// As polygons; not of the background.
    pub polygons: bool,
}

/// Builds the records of a stream.
#[derive(Clone, Debug, Default)]
pub struct RecordBuilder {
    /// Names of the categories.
    pub labels: Arc<Labels>,
    /// How the pixels of segmented classes are written.
    pub mask_encodings: MaskEncodings,
    /// Computes positions on the ground.
    pub locator: Option<GroundProjection>,
    /// Whether frame records say if the network ran on the frame (`inferred`).
    pub has_inferred: bool,
    /// Whether frame records hold the frame's size.
    pub has_size: bool,
}

impl RecordBuilder {
    /// The record of a frame of `size` with the network's `prediction`.
    pub fn frame(
        &self,
        meta: &FrameMeta,
        size: SizePx,
        dropped_before: u64,
        prediction: &Prediction,
    ) -> FrameRecord {
        let locator = FrameLocator {
            locator: self.locator.as_ref(),
            telemetry: meta.telemetry.as_ref(),
            size,
        };
        let plan = &prediction.plan;
        let detections = prediction.detections.iter();
        let segmentation = prediction.segmentation.as_ref();
        FrameRecord {
            stream: meta.stream.to_string(),
            frame: meta.frame,
            pts_ms: rounded(meta.pts.as_ms(), 1000.0),
            name: meta.name.as_deref().map(str::to_owned),
            size: self.has_size.then_some([size.width, size.height]),
            dropped_before,
            telemetry: meta.telemetry,
            inferred: self.has_inferred.then_some(plan.region != Region::None),
            regions: match &plan.region {
                Region::Crops(parts) => Some(parts.iter().map(RecordBox::from).collect()),
                Region::Whole | Region::None | Region::Looks(_) => None,
            },
            skipped: plan.quiet.iter().map(RecordBox::from).collect(),
            looks: match &plan.region {
                Region::Looks(looks) => Some(looks.iter().map(LookRecord::from).collect()),
                Region::Whole | Region::None | Region::Crops(_) => None,
            },
            models: self.models(prediction),
            still: plan.is_still,
            detections: detections.map(|d| self.detection(d, &locator)).collect(),
            segmentation: segmentation.map(|s| self.segmentation(s, &locator)),
            classification: prediction
                .classification
                .as_ref()
                .map(|classes| classes.iter().map(|c| self.classification(c)).collect()),
            ..FrameRecord::default()
        }
    }

    /// On what each model of a stream with several ran.
    fn models(&self, prediction: &Prediction) -> BTreeMap<String, ModelRunRecord> {
        // A stream that runs but one of a file's models has no more than its plan.
        let one = std::slice::from_ref(&prediction.plan.region);
        let runs = match prediction.models.as_slice() {
            [] => one,
            several => several,
        };
        let runs = self.labels.models().zip(runs);
        runs.map(|(name, region)| (name.to_owned(), region.into()))
            .collect()
    }

    fn detection(&self, detection: &Detection, locator: &FrameLocator<'_>) -> DetectionRecord {
        DetectionRecord {
            category_id: detection.category_id,
            label: self.labels.name(detection.category_id).to_owned(),
            model: self.labels.model(detection.category_id).map(str::to_owned),
            score: rounded(detection.score.into(), 10_000.0),
            bbox: RecordBox::from(&detection.rect),
            position: locator.of_box(&detection.rect),
            keypoints: detection.keypoints.iter().map(keypoint).collect(),
            segmentation: detection
                .mask
                .as_ref()
                .map(|mask| rle_of(mask, locator.size)),
            ..DetectionRecord::default()
        }
    }

    fn classification(&self, class: &Classification) -> ClassificationRecord {
        ClassificationRecord {
            category_id: class.category_id,
            label: self.labels.name(class.category_id).to_owned(),
            score: rounded(class.score.into(), 10_000.0),
        }
    }

    fn segmentation(
        &self,
        segmentation: &Segmentation,
        locator: &FrameLocator<'_>,
    ) -> SegmentationRecord {
        let mask = &*segmentation.mask;
        let shares = mask.shares();
        let mut rles = if self.mask_encodings.rle {
            rles_of(mask)
        } else {
            Vec::new()
        };
        let mut rle_of = |class: u8| {
            let at = rles.iter().position(|(of, _)| *of == class)?;
            Some(rles.swap_remove(at).1)
        };
        let unknown = shares.iter().find(|(class, _)| *class == UNKNOWN);
        let seen = shares.iter().filter(|(class, _)| *class != UNKNOWN);
        let polygons = self.mask_encodings.polygons;
        SegmentationRecord {
            classes: seen
                .map(|&(class, share)| ClassAreaRecord {
                    category_id: class.into(),
                    label: self.labels.name(class.into()).to_owned(),
                    share: rounded(share, 1e6),
                    rle: rle_of(class),
                    polygons: (polygons && class > 0).then(|| polygons_of(mask, class)),
                })
                .collect(),
            unknown: unknown.map(|(_, share)| rounded(*share, 1e6)),
            safe_ground: segmentation.safe_ground.map(|circle| {
                let center = [circle.x, circle.y].map(f64::from);
                SafeGroundRecord {
                    center,
                    radius_px: rounded(circle.radius_px.into(), 100.0),
                    position: locator.of_pixel(center),
                }
            }),
        }
    }

    /// The record of `event`, which `rule` made in a frame.
    pub fn area_event(&self, meta: &FrameMeta, event: &AreaEvent, rule: &AreaRule) -> EventRecord {
        let kind = match rule.kind {
            AreaKind::Above => "area_above",
            AreaKind::Below => "area_below",
        };
        let phase = match event.phase {
            AreaPhase::New => "new",
            AreaPhase::End => "end",
        };
        EventRecord {
            stream: meta.stream.to_string(),
            kind: kind.to_owned(),
            phase: phase.to_owned(),
            name: rule.name.clone(),
            frame: meta.frame,
            pts_ms: rounded(meta.pts.as_ms(), 1000.0),
            label: Some(self.labels.name(rule.class.into()).to_owned()),
            zone: rule.zone.as_ref().map(|(name, _)| name.clone()),
            share: Some(rounded(event.share, 1e6)),
            ..EventRecord::default()
        }
    }
}

fn keypoint(point: &Keypoint) -> KeypointRecord {
    let [x, y] = [point.x, point.y].map(|v| rounded(v.into(), 100.0));
    [x, y, rounded(point.score.into(), 10_000.0)]
}

/// Computes positions on the ground for one frame.
struct FrameLocator<'a> {
    locator: Option<&'a GroundProjection>,
    telemetry: Option<&'a Telemetry>,
    size: SizePx,
}

impl FrameLocator<'_> {
    fn of_pixel(&self, pixel: [f64; 2]) -> Option<GeoPoint> {
        self.locator?.project(self.telemetry?, self.size, pixel)
    }

    /// Of the middle of the box's lower edge, where an object touches the ground, or of its centre
    /// where the camera looks from above.
    fn of_box(&self, rect: &RectPx) -> Option<GeoPoint> {
        let pitch = self.telemetry?.gimbal_pitch_deg;
        let pitch = pitch.or(self.locator?.gimbal_pitch_deg)?;
        let down = if pitch > FROM_ABOVE_DEG { 1.0 } else { 0.5 };
        let x = rect.x + rect.width / 2.0;
        let y = rect.y + rect.height * down;
        self.of_pixel([x.into(), y.into()])
    }
}

impl FrameRecord {
    /// Whether the detection is among those of the record, and not left out because of its score, size
    /// or place.
    pub(crate) fn reports(&self, detection: &Detection) -> bool {
        let bbox = RecordBox::from(&detection.rect);
        let is_same =
            |kept: &DetectionRecord| kept.category_id == detection.category_id && kept.bbox == bbox;
        self.detections.iter().any(is_same)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::frame::MediaTime;
    use crate::records::Record;

    fn meta() -> FrameMeta {
        FrameMeta {
            stream: "gate".into(),
            frame: 42,
            pts: MediaTime {
                ticks: 42 * 512,
                rate_hz: 12_800,
            },
            captured_at: Instant::now(),
            name: None,
            telemetry: None,
        }
    }

    fn person() -> Detection {
        Detection {
            category_id: 1,
            score: 0.913_68,
            rect: RectPx {
                x: 412.0,
                y: 133.504,
                width: 58.0,
                height: 101.0,
            },
            ..Detection::default()
        }
    }

    fn record(builder: &RecordBuilder, meta: &FrameMeta) -> FrameRecord {
        let prediction = Prediction {
            detections: vec![person()],
            ..Prediction::default()
        };
        let size = SizePx {
            width: 640,
            height: 272,
        };
        builder.frame(meta, size, 0, &prediction)
    }

    fn builder(locator: Option<GroundProjection>) -> RecordBuilder {
        RecordBuilder {
            labels: Arc::new(Labels::new(vec![(1, "person".to_owned())])),
            mask_encodings: MaskEncodings::default(),
            locator,
            has_inferred: false,
            has_size: false,
        }
    }

    #[test]
    fn what_the_analysis_left_out_is_not_reported() {
        let mut record = record(&builder(None), &meta());
        assert!(record.reports(&person()));
        let other = Detection {
            category_id: 2,
            ..person()
        };
        assert!(!record.reports(&other));
        record.faint = std::mem::take(&mut record.detections);
        assert!(!record.reports(&person()));
    }

    #[test]
    fn a_frame_record_reads_as_documented() {
        let record = Record::Frame(record(&builder(None), &meta()));
        let line = serde_json::to_string(&record).expect("plain data");
        assert_eq!(
            line,
            r#"{"type":"frame","stream":"gate","frame":42,"pts_ms":1680.0,"dropped_before":0,"detections":[{"category_id":1,"label":"person","score":0.9137,"bbox":[412.0,133.5,58.0,101.0]}]}"#
        );
        let back: Record = serde_json::from_str(&line).expect("own record");
        assert_eq!(back, record);
    }

    #[test]
    fn a_classified_picture_reads_as_documented() {
        let prediction = Prediction {
            classification: Some(vec![Classification {
                category_id: 1,
                score: 0.913_68,
            }]),
            ..Prediction::default()
        };
        let size = SizePx {
            width: 640,
            height: 272,
        };
        let record = Record::Frame(builder(None).frame(&meta(), size, 0, &prediction));
        let line = serde_json::to_string(&record).expect("plain data");
        assert_eq!(
            line,
            r#"{"type":"frame","stream":"gate","frame":42,"pts_ms":1680.0,"dropped_before":0,"detections":[],"classification":[{"category_id":1,"label":"person","score":0.9137}]}"#
        );
        let back: Record = serde_json::from_str(&line).expect("own record");
        assert_eq!(back, record);
    }

    #[test]
    fn detections_from_a_drone_have_a_position() {
        let locator = GroundProjection {
            hfov_deg: 70.0,
            ..GroundProjection::default()
        };
        let telemetry = Telemetry {
            latitude: Some(48.0),
            longitude: Some(11.0),
            height_m: Some(50.0),
            gimbal_pitch_deg: Some(-45.0),
            gimbal_yaw_deg: Some(0.0),
            ..Telemetry::default()
        };
        let meta = FrameMeta {
            telemetry: Some(telemetry),
            ..meta()
        };
        let placed = record(&builder(Some(locator)), &meta);
        assert_eq!(placed.telemetry, Some(telemetry));
        let at = placed.detections[0].position.expect("on the ground");
        // Below and to the right of the middle: less than 50 m ahead, east of the drone.
        assert!(at.latitude > 48.0 && at.latitude < 48.000_45, "{at:?}");
        assert!(at.longitude > 11.0, "{at:?}");
        let unplaced = record(&builder(None), &meta);
        assert_eq!(unplaced.detections[0].position, None);
    }
}
