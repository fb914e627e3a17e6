//! What goes from stage to stage: a frame, what happened to its source, or both.

use std::time::{Duration, Instant};

use super::meta::Packet;
use crate::flow::Aged;

/// What happened to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The connection is lost.
    Lost,
    /// The connection is back, after so long.
    Back(Duration),
}

/// A frame, events of its source, or both.
///
/// A frame may be dropped on its way; an event may not (as in GStreamer's leaky queues, which drop
/// buffers and keep events). The events of a frame that is dropped stay in the stream's order: they
/// go on with the next frame, or alone.
#[derive(Clone, Debug)]
pub struct StreamMessage<T> {
    /// The frame.
    pub frame: Option<Packet<T>>,
    /// Events since the message before, to be published after the frame's record.
    pub events: Vec<SourceEvent>,
    /// Generation of the stream's settings that it is processed with: 0 at the start, one more with each
    /// reload.
    pub generation: u64,
}

impl<T> StreamMessage<T> {
    /// An event that does not wait for a frame.
    pub fn event(event: SourceEvent) -> Self {
        Self {
            frame: None,
            events: vec![event],
            generation: 0,
        }
    }

    /// The same message, with what `stage` makes of the frame.
    ///
    /// # Errors
    /// Those of `stage`.
    pub fn try_map<U, E>(
        self,
        stage: impl FnOnce(Packet<T>) -> Result<Packet<U>, E>,
    ) -> Result<StreamMessage<U>, E> {
        Ok(StreamMessage {
            frame: self.frame.map(stage).transpose()?,
            events: self.events,
            generation: self.generation,
        })
    }
}

impl<T> From<Packet<T>> for StreamMessage<T> {
    fn from(packet: Packet<T>) -> Self {
        Self {
            frame: Some(packet),
            events: Vec::new(),
            generation: 0,
        }
    }
}

impl<T> Aged for StreamMessage<T> {
    fn captured_at(&self) -> Option<Instant> {
        Some(self.frame.as_ref()?.meta.captured_at)
    }

    fn supersede(&mut self, mut older: Self) -> bool {
        older.events.append(&mut self.events);
        self.events = older.events;
        let is_dropped = self.frame.is_some() && older.frame.is_some();
        if self.frame.is_none() {
            self.frame = older.frame;
        }
        is_dropped
    }

    fn expire(self) -> Option<Self> {
        (!self.events.is_empty()).then_some(Self {
            frame: None,
            events: self.events,
            generation: self.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::{Policy, Received, aged_edge};
    use crate::frame::{FrameMeta, MediaTime};
    use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

    const BACK: SourceEvent = SourceEvent::Back(Duration::from_secs(3));

    fn frame(number: u64, captured_at: Instant) -> StreamMessage<()> {
        let size = SizePx {
            width: 1,
            height: 1,
        };
        let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![0; 3]);
        let meta = FrameMeta {
            stream: "test".into(),
            frame: number,
            pts: MediaTime::ZERO,
            captured_at,
            name: None,
            telemetry: None,
        };
        let packet = Packet {
            meta,
            image: Arc::new(image.expect("three bytes")),
            payload: (),
        };
        packet.into()
    }

    fn parts(message: StreamMessage<()>) -> (Option<u64>, Vec<SourceEvent>) {
        (message.frame.map(|f| f.meta.frame), message.events)
    }

    #[test]
    fn events_are_never_pushed_out_and_keep_their_order() {
        let now = Instant::now();
        let (tx, rx) = aged_edge("t", 1, Policy::NewestWins);
        let lost = || StreamMessage::event(SourceEvent::Lost);
        tx.send(frame(0, now)).expect("open");
        tx.send(frame(1, now)).expect("open");
        tx.send(lost()).expect("open");
        assert_eq!(tx.counts().evicted(), 1, "an event pushes no frame out");
        tx.send(StreamMessage {
            events: vec![BACK],
            ..frame(2, now)
        })
        .expect("open");
        tx.send(frame(3, now)).expect("open");
        assert_eq!(tx.counts().evicted(), 3);
        tx.send(lost()).expect("open");
        let got = rx.recv().map(parts);
        let events = vec![SourceEvent::Lost, BACK, SourceEvent::Lost];
        assert_eq!(got, Some((Some(3), events)));
        assert!(matches!(rx.try_recv(), Received::Nothing));
    }

    #[test]
    fn events_outlive_a_frame_that_grew_old() {
        let now = Instant::now();
        let old = now.checked_sub(Duration::from_secs(60)).expect("uptime");
        let limit = Some(Duration::from_secs(30));
        let (tx, rx) = aged_edge("t", 3, Policy::NewestWins);
        tx.send(frame(0, old)).expect("open");
        tx.send(StreamMessage {
            events: vec![BACK],
            ..frame(1, old)
        })
        .expect("open");
        let got = rx.recv_fresh(limit).map(parts);
        assert_eq!(got, Some((None, vec![BACK])));
        assert_eq!(tx.counts().stale(), 2);

        // In a wait for a turn.
        let waited = StreamMessage {
            events: vec![SourceEvent::Lost],
            ..frame(2, now)
        };
        tx.send(frame(3, now)).expect("open");
        let got = rx.refresh(waited, limit).map(parts);
        assert_eq!(got, Some((Some(3), vec![SourceEvent::Lost])));
        assert_eq!((tx.counts().evicted(), tx.counts().stale()), (1, 2));
    }
}
