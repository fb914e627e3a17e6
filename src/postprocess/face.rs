//! Faces with landmarks.

use super::detection::Detection;

/// A detected face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceDetection {
    /// Its box and score.
    pub detection: Detection,
    /// Left eye, right eye, nose, left and right corner of the mouth as seen in the picture: column and row
    /// in pixels of the frame, not clipped. `None` where the network has none, or a value is not finite.
    pub landmarks: Option<[[f32; 2]; 5]>,
}

impl FaceDetection {
    /// A face whose landmarks are these where all are finite.
    pub(super) fn new(detection: Detection, landmarks: Option<[[f32; 2]; 5]>) -> Self {
        let is_finite =
            |points: &[[f32; 2]; 5]| points.as_flattened().iter().all(|v| v.is_finite());
        Self {
            detection,
            landmarks: landmarks.filter(is_finite),
        }
    }
}
