//! Event clips with pre-roll and post-roll.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::RetentionPolicy;
use super::file::OpenFile;
use super::folder::RecordingFolder;
use crate::records::EventRecord;
use crate::sink::{ErrorGuard, FileReports, RecordedFile, SinkError};
use mobilens_video::h264::{EncodedFrame, StreamParameters};

/// Most clips that are begun late, after an error.
const MAX_LATE: usize = 32;

/// Of which events there are clips, and how long they are.
#[derive(Clone, Debug)]
pub struct ClipRules {
    /// Kinds of events; all but `source`, `sink` and `interval` if none are named.
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
            !["source", "sink", "interval", "reload"].contains(&kind)
        } else {
            self.kinds.iter().any(|wanted| wanted == kind)
        }
    }
}

/// Writes a file for each event.
pub struct Clips {
    folder: RecordingFolder,
    guard: ErrorGuard,
    rules: ClipRules,
    /// The last seconds; begins with a keyframe.
    past: VecDeque<(StreamParameters, EncodedFrame)>,
    open: Vec<(Event, OpenFile)>,
    /// Events whose clips could not be begun yet.
    late: VecDeque<Event>,
    reports: FileReports,
}

/// What a clip is of.
#[derive(Clone)]
struct Event {
    key: (String, String, Option<u64>),
    frame: u64,
    /// What its file's name says after the time.
    name: String,
    began_us: i64,
    /// When the clip is over, once that is known.
    ends_us: Option<i64>,
}

impl Clips {
    /// Nothing yet. With `sync`, the disk has each fragment before the next one is written.
    ///
    /// # Errors
    /// When the folder cannot be made, and `guard` does not go on without.
    pub fn open(
        retention: RetentionPolicy,
        rules: ClipRules,
        sync: bool,
        mut guard: ErrorGuard,
    ) -> Result<Self, SinkError> {
        let (folder, made) = RecordingFolder::open(retention, sync);
        made.or_else(|error| guard.failed(error))?;
        Ok(Self {
            folder,
            guard,
            rules,
            past: VecDeque::new(),
            open: Vec::new(),
            late: VecDeque::new(),
            reports: FileReports::default(),
        })
    }

    /// Handles errors.
    pub fn guard_mut(&mut self) -> &mut ErrorGuard {
        &mut self.guard
    }

    /// Who is told of the clips.
    pub(super) fn report_files(&mut self, reports: FileReports) {
        self.reports = reports;
    }

    /// Takes a picture and its events. After an error, the clips of what happens meanwhile begin late,
    /// with what is kept of the seconds before.
    pub(super) fn push(
        &mut self,
        track: &StreamParameters,
        sample: &EncodedFrame,
        events: &[EventRecord],
    ) -> Result<(), SinkError> {
        self.remember(track, sample);
        let written = self.write_open(track, sample);
        for event in events {
            if self.rules.wants(&event.kind) {
                self.take_event(event, sample);
            }
        }
        if let Err(error) = written.and_then(|()| self.begin_late()) {
            for (event, open) in self.open.drain(..) {
                // What has begun stays as it is; what has not begins late.
                if !open.has_fragments() {
                    self.late.push_back(event);
                }
                self.guard.lose(open.abandon());
            }
            let _ = self.folder.ensure_space(&[]);
            self.guard.failed(error)?;
        }
        if self.guard.is_disabled() {
            self.late.clear();
        }
        let too_many = self.late.len().saturating_sub(MAX_LATE);
        self.late.drain(..too_many);
        Ok(())
    }

    fn write_open(
        &mut self,
        track: &StreamParameters,
        sample: &EncodedFrame,
    ) -> Result<(), SinkError> {
        self.folder.tend(&paths(&self.open))?;
        let mut at = 0;
        while at < self.open.len() {
            let (event, open) = &mut self.open[at];
            let longest = event.began_us + self.rules.longest_us;
            let ends = event.ends_us.map_or(longest, |ends| ends.min(longest));
            if sample.at_us > ends || open.track != *track {
                let (_, open) = self.open.swap_remove(at);
                open.finish()?;
                self.guard.succeeded();
            } else {
                open.push(sample)?;
                if open.has_fragments() {
                    self.guard.succeeded();
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// Begins the clip of an event, or says when it is over.
    fn take_event(&mut self, event: &EventRecord, sample: &EncodedFrame) {
        let key = (event.kind.clone(), event.name.clone(), event.track_id);
        let ends_us = Some(sample.at_us + self.rules.after_us);
        let ends_us = match event.phase.as_str() {
            // A crossing has neither beginning nor end.
            _ if event.kind == "line" => ends_us,
            "new" => None,
            "end" => {
                let open = self.open.iter_mut().map(|(event, _)| event);
                let mut lasting = open.chain(&mut self.late).rev();
                if let Some(event) = lasting.find(|event| event.key == key) {
                    event.ends_us = ends_us;
                }
                return;
            }
            _ => return,
        };
        let what = format!("{}-{}-{}", event.kind, event.name, event.frame);
        let track_id = event.track_id.map(|id| format!("-{id}"));
        self.late.push_back(Event {
            key,
            frame: event.frame,
            name: what + &track_id.unwrap_or_default(),
            began_us: sample.at_us,
            ends_us,
        });
    }

    /// Begins the clips of events that have none yet, with all that is remembered.
    fn begin_late(&mut self) -> Result<(), SinkError> {
        while self.guard.is_due()
            && let Some(event) = self.late.front()
            && let Some((track, _)) = self.past.back()
        {
            self.folder.make()?;
            self.folder.ensure_space(&paths(&self.open))?;
            let mut open = OpenFile::create(&self.folder, &event.name, track)?;
            let past = self.past.iter().filter(|(of, _)| of == track);
            let mut begins_us = event.began_us;
            for (_, sample) in past {
                begins_us = begins_us.min(sample.at_us);
                if let Err(error) = open.push(sample) {
                    // It is written anew, later.
                    open.discard();
                    return Err(error);
                }
            }
            let (kind, name, track_id) = event.key.clone();
            self.reports.send(&RecordedFile::Clip {
                kind,
                name,
                track_id,
                frame: event.frame,
                file: open.path.clone(),
                offset_us: event.began_us - begins_us,
            });
            self.open
                .extend(self.late.pop_front().map(|event| (event, open)));
            let paths = paths(&self.open);
            if let Some(path) = paths.last() {
                self.folder.add(path, &paths);
            }
        }
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

    /// Removes what is too old or too much.
    pub(super) fn sweep(&mut self) {
        self.folder.sweep(&paths(&self.open));
    }

    pub(super) fn finish(self) -> Result<(), SinkError> {
        let all: Vec<_> = self
            .open
            .into_iter()
            .map(|(_, open)| open.finish())
            .collect();
        let finished: Result<(), SinkError> = all.into_iter().collect();
        finished.or_else(|error| self.guard.finish(error))
    }
}

fn paths(open: &[(Event, OpenFile)]) -> Vec<&PathBuf> {
    open.iter().map(|(_, open)| &open.path).collect()
}
