//! Event clips with pre-roll and post-roll.

use std::collections::VecDeque;

use super::retention::RetentionPolicy;
use super::{OpenFile, file_name};
use crate::records::EventRecord;
use crate::sink::SinkError;
use mobilens_video::h264::{EncodedFrame, StreamParameters};

/// Of which events there are clips, and how long they are.
#[derive(Clone, Debug)]
pub struct ClipRules {
    /// Kinds of events; all but `source` and `interval` if none are named.
    pub kinds: Vec<String>,
    /// How much before the event is in the clip.
    pub before_us: i64,
    /// How much after its end.
    pub after_us: i64,
    /// A clip is over after so long, however long its event lasts.
    pub longest_us: i64,
}

impl ClipRules {
    fn wants(&self, kind: &str) -> bool {
        if self.kinds.is_empty() {
            kind != "source" && kind != "interval"
        } else {
            self.kinds.iter().any(|wanted| wanted == kind)
        }
    }
}

/// Writes a file for each event.
pub struct Clips {
    retention: RetentionPolicy,
    rules: ClipRules,
    /// The last seconds; begins with a keyframe.
    past: VecDeque<(StreamParameters, EncodedFrame)>,
    open: Vec<Clip>,
}

struct Clip {
    /// What it is of.
    event: (String, String, Option<u64>),
    open: OpenFile,
    began_us: i64,
    /// When it is over, once that is known.
    ends_us: Option<i64>,
}

impl Clips {
    /// Nothing yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(retention: RetentionPolicy, rules: ClipRules) -> Result<Self, SinkError> {
        retention.open()?;
        Ok(Self {
            retention,
            rules,
            past: VecDeque::new(),
            open: Vec::new(),
        })
    }

    pub(super) fn push(
        &mut self,
        track: &StreamParameters,
        sample: &EncodedFrame,
        events: &[EventRecord],
    ) -> Result<(), SinkError> {
        self.remember(track, sample);
        let mut at = 0;
        while at < self.open.len() {
            let clip = &mut self.open[at];
            let longest = clip.began_us + self.rules.longest_us;
            let ends = clip.ends_us.map_or(longest, |ends| ends.min(longest));
            if sample.at_us > ends || clip.open.track != *track {
                let clip = self.open.swap_remove(at);
                clip.open.finish()?;
            } else {
                clip.open.push(sample)?;
                at += 1;
            }
        }
        for event in events {
            if self.rules.wants(&event.kind) {
                self.take_event(event, track, sample)?;
            }
        }
        Ok(())
    }

    fn take_event(
        &mut self,
        event: &EventRecord,
        track: &StreamParameters,
        sample: &EncodedFrame,
    ) -> Result<(), SinkError> {
        let key = (event.kind.clone(), event.name.clone(), event.track_id);
        let ends_us = Some(sample.at_us + self.rules.after_us);
        match event.phase.as_str() {
            // A crossing has neither beginning nor end.
            _ if event.kind == "line" => self.begin(key, event, track, sample, ends_us)?,
            "new" => self.begin(key, event, track, sample, None)?,
            "end" => {
                let mut lasting = self.open.iter_mut().rev();
                if let Some(clip) = lasting.find(|clip| clip.event == key) {
                    clip.ends_us = ends_us;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        key: (String, String, Option<u64>),
        event: &EventRecord,
        track: &StreamParameters,
        sample: &EncodedFrame,
        ends_us: Option<i64>,
    ) -> Result<(), SinkError> {
        let what = format!("{}-{}-{}", event.kind, event.name, event.frame);
        let track_id = event
            .track_id
            .map(|id| format!("-{id}"))
            .unwrap_or_default();
        let path = self
            .retention
            .dir
            .join(file_name(&self.retention.stream, &(what + &track_id)));
        let mut open = OpenFile::create(path, track)?;
        for (of, past) in &self.past {
            if of == track {
                open.push(past)?;
            }
        }
        self.open.push(Clip {
            event: key,
            open,
            began_us: sample.at_us,
            ends_us,
        });
        let paths: Vec<_> = self.open.iter().map(|clip| &clip.open.path).collect();
        self.retention.remove_expired(&paths);
        Ok(())
    }

    /// Keeps as much as a clip begins with, from a keyframe on.
    fn remember(&mut self, track: &StreamParameters, sample: &EncodedFrame) {
        self.past.push_back((track.clone(), sample.clone()));
        let since = sample.at_us - self.rules.before_us;
        // The last keyframe that is early enough begins it.
        let begin = self
            .past
            .iter()
            .rposition(|(_, s)| s.is_key && s.at_us <= since);
        self.past.drain(..begin.unwrap_or(0));
    }

    pub(super) fn finish(self) -> Result<(), SinkError> {
        let all: Vec<_> = self
            .open
            .into_iter()
            .map(|clip| clip.open.finish())
            .collect();
        all.into_iter().collect()
    }
}
