//! The thumbnails of events as COCO instances, for `eval detection`, labelling programs and training.

use std::collections::BTreeMap;
use std::path::Path;

use mobilens::sink::{SinkError, write_whole};
use mobilens::store::{StoredEvent, Thumbnail};
use serde::Serialize;

use super::thumbnail_name;

/// Images, boxes and classes.
#[derive(Debug, Default, Serialize)]
pub struct Dataset {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
    #[serde(skip)]
    ids: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize)]
struct Image {
    id: i64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize)]
struct Annotation {
    id: i64,
    image_id: i64,
    category_id: u32,
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Category {
    id: u32,
    name: String,
}

impl Dataset {
    /// Adds the object of a track; other events show the same objects again.
    pub fn add(&mut self, event: &StoredEvent, thumbnail: Option<&Thumbnail>) {
        let (Some(thumbnail), Some(label)) = (thumbnail, &event.label) else {
            return;
        };
        if event.kind != "track" {
            return;
        }
        let next = u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX);
        let category_id = *self.ids.entry(label.clone()).or_insert(next);
        let bbox = thumbnail.bbox;
        self.images.push(Image {
            id: event.id,
            file_name: thumbnail_name(event),
            width: thumbnail.width,
            height: thumbnail.height,
        });
        self.annotations.push(Annotation {
            id: event.id,
            image_id: event.id,
            category_id,
            bbox: bbox.into(),
            area: (bbox.width * bbox.height * 100.0).round() / 100.0,
            iscrowd: 0,
            score: event.score,
        });
    }

    /// Writes it as a file that is whole or not there.
    pub fn write(mut self, file: &Path) -> Result<(), SinkError> {
        let ids = std::mem::take(&mut self.ids).into_iter();
        self.categories = ids.map(|(name, id)| Category { id, name }).collect();
        self.categories.sort_by_key(|category| category.id);
        let json = serde_json::to_vec(&self).expect("plain data with string keys");
        write_whole(file, |part| std::fs::write(part, json))
    }
}
