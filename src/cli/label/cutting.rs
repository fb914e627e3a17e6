//! Reads the chosen frames from the clip and writes them as pictures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use image::RgbImage;
use mobilens::capture::{Captured, Source};
use mobilens::config::InputSource;
use mobilens::flow::StopSignal;
use mobilens::frame::{FrameMeta, MediaTime};
use mobilens::pipeline::{Progress, open_recording};
use mobilens::sink::{ImagesSink, PictureEncoding};
use mobilens_image::rgb_from_image;

use super::Failure;
use super::reading::{RecordedFrame, RecordedRun};

/// Greatest difference of a frame's time and that of its record, which is rounded.
const SAME_TIME_MS: f64 = 0.5;

/// The clip that a run was on.
pub struct Clip<'a> {
    argument: &'a str,
    source: Box<dyn Source>,
    run: &'a RecordedRun,
}

impl<'a> Clip<'a> {
    /// Opens the clip of `run`.
    ///
    /// # Errors
    /// When it cannot be opened, or is not what the run was on.
    pub fn open(
        argument: &'a str,
        run: &'a RecordedRun,
        stop: &StopSignal,
    ) -> Result<Self, Failure> {
        let config = InputSource::of(argument)
            .map_err(|e| Failure::Input(e.to_string().replacen("--input", "--clip", 1)))?
            .source();
        let fault = |why: String| Failure::Input(format!("--clip {argument}: {why}"));
        if config.rtsp.is_some() {
            let why = "expected a clip or a folder of pictures".to_owned();
            return Err(fault(why));
        }
        let source = open_recording(&config, stop).map_err(|e| Failure::Input(e.to_string()))?;
        let info = source.info();
        let records = run.file.display();
        if info.kind != run.kind {
            let (is, was) = (info.kind, &run.kind);
            return Err(fault(format!(
                "its kind is {is}, but {records} is of {was}"
            )));
        }
        // Two recordings of one camera differ in nothing else that shows.
        let named = !run.is_of_pictures() && ![info.uri.as_str(), &run.uri].contains(&STDIN);
        if named && info.uri != run.uri {
            let why = format!(
                "{records} is of {}; give the clip that the run was on",
                run.uri
            );
            return Err(fault(why));
        }
        let size = info.size.map(|size| [size.width, size.height]);
        if let (Some([w, h]), Some([width, height])) = (size, run.size)
            && (w, h) != (width, height)
        {
            let why = format!("its frames are {w}x{h}, those of {records} {width}x{height}");
            return Err(fault(why));
        }
        if let Some(frames) = info.frames {
            let captured = run.captured.filter(|captured| *captured != frames);
            let beyond = run.last.filter(|last| *last >= frames);
            if let Some(had) = captured.or(beyond.map(|last| last + 1)) {
                let why = format!("it has {frames} frames, the run in {records} had {had}");
                return Err(fault(why));
            }
        }
        Ok(Self {
            argument,
            source,
            run,
        })
    }

    /// Writes the frames of `names`, each with its file name, into the folder `dir` until `stop`; calls
    /// `on_picture` with the name and size of each.
    ///
    /// # Errors
    /// When the clip cannot be read or has other frames than the records, or a picture cannot be written.
    pub fn cut(
        mut self,
        mut names: BTreeMap<u64, (&RecordedFrame, &str)>,
        dir: &Path,
        encoding: PictureEncoding,
        stop: &StopSignal,
        mut on_picture: impl FnMut(&str, [u32; 2]),
    ) -> Result<(), Failure> {
        // Not made before there is a picture: a folder with nothing in it is as good as none.
        let mut sink = None;
        let last = names.last_key_value().map(|(number, _)| number + 1);
        let progress = Progress::on_terminal(last, false);
        let mut number = 0;
        while let Some((&last, _)) = names.last_key_value() {
            let next = self.source.next(stop);
            match next.map_err(|e| Failure::Input(e.to_string()))? {
                Captured::Frame { image, pts, name } => {
                    if let Some((frame, file)) = names.remove(&number) {
                        let size = [image.size().width, image.size().height];
                        self.ensure_same(frame, name.as_deref(), size, pts)?;
                        let mut picture = RgbImage::new(size[0], size[1]);
                        rgb_from_image(&image, &mut picture);
                        let meta = FrameMeta {
                            stream: self.run.stream.as_str().into(),
                            frame: number,
                            pts,
                            captured_at: Instant::now(),
                            name: Some(file.into()),
                            telemetry: None,
                        };
                        let sink = match &mut sink {
                            Some(sink) => sink,
                            none => {
                                let open = ImagesSink::open(dir, encoding);
                                none.insert(open.map_err(Failure::Sink)?)
                            }
                        };
                        sink.write(&meta, &picture).map_err(Failure::Sink)?;
                        on_picture(file, size);
                    }
                }
                Captured::Undecodable { why, .. } if names.contains_key(&number) => {
                    return Err(self.fault(&format!("frame {number} cannot be decoded: {why}")));
                }
                Captured::Undecodable { .. } => {}
                Captured::Lost { .. } | Captured::Back { .. } => continue,
                Captured::End if stop.is_stopped() => return Ok(()),
                Captured::End => {
                    let why = format!("it ends before frame {last} of the records");
                    return Err(self.fault(&why));
                }
            }
            number += 1;
            progress.frame_done();
        }
        Ok(())
    }

    /// Whether a frame of the clip is the one of a record.
    fn ensure_same(
        &self,
        frame: &RecordedFrame,
        name: Option<&str>,
        size: [u32; 2],
        pts: MediaTime,
    ) -> Result<(), Failure> {
        let records = self.run.file.display();
        let number = frame.number;
        let shown = |name: Option<&str>| name.unwrap_or("without a name").to_owned();
        let differs = if frame.name.as_deref() != name {
            Some((shown(name), shown(frame.name.as_deref())))
        } else if let Some([width, height]) = frame.size.or(self.run.size)
            && size != [width, height]
        {
            let [w, h] = size;
            Some((format!("{w}x{h}"), format!("{width}x{height}")))
        } else if !self.run.is_of_pictures() && (pts.as_ms() - frame.pts_ms).abs() > SAME_TIME_MS {
            let at = |ms: f64| format!("at {ms:.3} ms");
            Some((at(pts.as_ms()), at(frame.pts_ms)))
        } else {
            None
        };
        match differs {
            None => Ok(()),
            Some((is, was)) => {
                let why = format!("its frame {number} is {is}, that of {records} {was}");
                Err(self.fault(&why))
            }
        }
    }

    fn fault(&self, why: &str) -> Failure {
        Failure::Input(format!("--clip {}: {why}", self.argument))
    }
}

/// What records call a stream of Y4M from standard input.
const STDIN: &str = "standard input";
