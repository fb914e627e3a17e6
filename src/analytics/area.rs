//! Area rules: events when the share of a zone covered by a class crosses a limit.

use std::time::Duration;

use crate::frame::MediaTime;
use crate::postprocess::ClassMask;
use mobilens_image::{Polygon, SizePx};

/// On which side of the limit an event is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// Above the limit.
    Above,
    /// Below the limit.
    Below,
}

/// An area rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaRule {
    /// Name in the events.
    pub name: String,
    /// On which side of the limit an event is active.
    pub kind: AreaKind,
    /// The class, by label id.
    pub class: u8,
    /// The limit, as a share of the zone, 0 to 1.
    pub share: f64,
    /// The zone and its name; the whole frame if `None`.
    pub zone: Option<(String, Polygon)>,
    /// How long the condition must hold to start an event, and to fail to end it.
    pub hold: Duration,
    /// An event ends only when the share has crossed the limit back by this fraction of it.
    pub hysteresis: f64,
}

/// Phase of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaPhase {
    /// It starts.
    New,
    /// It ends.
    End,
}

/// Start or end of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaEvent {
    /// Index of the rule.
    pub rule: usize,
    /// Whether it starts or ends.
    pub phase: AreaPhase,
    /// Share of the zone now.
    pub share: f64,
}

/// Evaluates the area rules of a stream.
#[derive(Debug)]
pub struct AreaRules {
    rules: Vec<AreaRule>,
    states: Vec<State>,
    /// The zones' pixels, rasterised for one frame size.
    zones: Option<(SizePx, Vec<Vec<Run>>)>,
}

/// Row, first column, end column (exclusive).
type Run = (usize, usize, usize);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    active: bool,
    /// Since when the condition differs from the state.
    since: Option<MediaTime>,
}

impl AreaRules {
    /// No event is active.
    pub fn new(rules: Vec<AreaRule>) -> Self {
        let states = vec![State::default(); rules.len()];
        Self {
            rules,
            states,
            zones: None,
        }
    }

    /// A rule goes on in the state that the one of the same name and kind had before.
    pub fn continue_from(&mut self, before: Self) {
        for (rule, state) in self.rules.iter().zip(&mut self.states) {
            let is_known = |known: &AreaRule| (&known.name, known.kind) == (&rule.name, rule.kind);
            if let Some(i) = before.rules.iter().position(is_known) {
                *state = before.states[i];
            }
        }
    }

    /// The rules.
    pub fn rules(&self) -> &[AreaRule] {
        &self.rules
    }

    /// Processes a frame's mask; frames come in order.
    pub fn update(&mut self, mask: &ClassMask, at: MediaTime) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        let size = mask.size();
        if self.rules.is_empty() {
            return events;
        }
        if self.zones.as_ref().is_none_or(|(of, _)| *of != size) {
            let zones = self.rules.iter().map(|rule| runs_of(rule, size)).collect();
            self.zones = Some((size, zones));
        }
        let zones = self.zones.iter().flat_map(|(_, zones)| zones);
        let rules = self.rules.iter().zip(&mut self.states).zip(zones);
        for (index, ((rule, state), zone)) in rules.enumerate() {
            let share = share_of(rule.class, zone, mask);
            // Hysteresis while an event is active.
            let back = if state.active { rule.hysteresis } else { 0.0 };
            let wanted = match rule.kind {
                AreaKind::Above => share > rule.share * (1.0 - back),
                AreaKind::Below => share < rule.share * (1.0 + back),
            };
            if wanted == state.active {
                state.since = None;
                continue;
            }
            let since = *state.since.get_or_insert(at);
            if at.as_duration().saturating_sub(since.as_duration()) < rule.hold {
                continue;
            }
            *state = State {
                active: wanted,
                since: None,
            };
            events.push(AreaEvent {
                rule: index,
                phase: if wanted {
                    AreaPhase::New
                } else {
                    AreaPhase::End
                },
                share,
            });
        }
        events
    }
}

fn runs_of(rule: &AreaRule, size: SizePx) -> Vec<Run> {
    let Some((_, polygon)) = &rule.zone else {
        return (0..size.height as usize)
            .map(|y| (y, 0, size.width as usize))
            .collect();
    };
    let mut runs = Vec::new();
    polygon.pixels(size, |y, first, end| runs.push((y, first, end)));
    runs
}

/// The class's share of the zone; 0 for a zone without pixels.
fn share_of(class: u8, zone: &[Run], mask: &ClassMask) -> f64 {
    let (mut of_class, mut all) = (0_usize, 0_usize);
    for (y, first, end) in zone {
        let row = &mask.row(*y)[*first..*end];
        all += row.len();
        of_class += row.iter().filter(|c| **c == class).count();
    }
    of_class as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MediaTime {
        MediaTime {
            ticks: ms as i64,
            rate_hz: 1000,
        }
    }

    /// A mask of 10x10 pixels of which the left `columns` are of class 3.
    fn mask(columns: usize) -> ClassMask {
        let classes = (0..100).map(|i| if i % 10 < columns { 3 } else { 0 });
        let size = SizePx {
            width: 10,
            height: 10,
        };
        ClassMask::new(size, classes.collect()).expect("fits")
    }

    fn rule(kind: AreaKind, share: f64) -> AreaRule {
        AreaRule {
            name: "r".to_owned(),
            kind,
            class: 3,
            share,
            zone: None,
            hold: Duration::from_millis(100),
            hysteresis: 0.5,
        }
    }

    fn phases(rules: &mut AreaRules, steps: &[(u64, usize)]) -> Vec<(u64, AreaPhase)> {
        let mut phases = Vec::new();
        for (ms, columns) in steps {
            for event in rules.update(&mask(*columns), at(*ms)) {
                phases.push((*ms, event.phase));
            }
        }
        phases
    }

    #[test]
    fn an_event_must_last_to_begin_and_be_over_to_end() {
        let mut rules = AreaRules::new(vec![rule(AreaKind::Above, 0.4)]);
        let steps = [
            (0, 5),  // above
            (40, 2), // not any more: the time begins anew
            (80, 5),
            (160, 6), // 80 ms are not enough
            (180, 6), // 100 are: new
            (200, 3), // below the limit, but not by half of it
            (400, 3),
            (420, 1), // far below
            (500, 5), // back: no end
            (520, 1),
            (620, 1), // end
        ];
        let got = phases(&mut rules, &steps);
        assert_eq!(got, [(180, AreaPhase::New), (620, AreaPhase::End)]);
    }

    #[test]
    fn less_than_it_should_be_is_an_event_too() {
        let mut rules = AreaRules::new(vec![rule(AreaKind::Below, 0.4)]);
        let steps = [(0, 3), (100, 3), (200, 5), (300, 5), (400, 7), (500, 7)];
        let got = phases(&mut rules, &steps);
        assert_eq!(got, [(100, AreaPhase::New), (500, AreaPhase::End)]);
    }

    #[test]
    fn only_the_zone_counts() {
        let half = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
        let zone = Polygon::new(half).expect("a zone");
        let rule = AreaRule {
            zone: Some(("right".to_owned(), zone)),
            hold: Duration::ZERO,
            ..rule(AreaKind::Above, 0.3)
        };
        let mut rules = AreaRules::new(vec![rule]);
        assert!(
            rules.update(&mask(6), at(0)).is_empty(),
            "a fifth of the zone"
        );
        let events = rules.update(&mask(7), at(1));
        assert_eq!((events[0].phase, events[0].share), (AreaPhase::New, 0.4));
    }
}
