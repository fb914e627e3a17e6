//! Runs the pictures: through the float network to observe it, through the quantised one to correct
//! and to measure it.

use std::ops::ControlFlow;

use crate::error::NnError;
use crate::load_options::KernelChoice;
use crate::network::Network;
use crate::session::Session;

use super::model::{FloatModel, load};
use super::observe::Histogram;
use super::proto::float_tensor;
use super::ranges::{Scale, activation_scale};
use super::report::{QuantizeReport, Sqnr};
use super::segments::{Segment, Target};
use super::write::ConvCodes;
use super::{CalibrationPictures, QuantizeError, QuantizePhase, QuantizeProgress};

/// What the float network's values were.
#[derive(Debug)]
pub(super) struct Observed {
    /// Of each rounded value.
    histograms: Vec<Histogram>,
    /// For each convolution the mean input of each channel and tap.
    means: Vec<Vec<f64>>,
}

impl Observed {
    /// The scale of each rounded value.
    pub fn scales(&self, float: &FloatModel, input_range: Option<(f32, f32)>) -> Vec<Scale> {
        let group = &float.placement.group;
        let of_group = |first: usize| {
            let mut merged = self.histograms[first].clone();
            let members = (0..group.len()).filter(|member| group[*member] == first);
            for member in members.clone().skip(1) {
                merged.merge(&self.histograms[member]);
            }
            let mut members = members;
            match input_range {
                Some((low, high)) if members.any(|member| float.observed[member].is_none()) => {
                    Scale::of_range(low.min(merged.min()).into(), high.max(merged.max()).into())
                }
                _ => activation_scale(&merged),
            }
        };
        let mut scales: Vec<Scale> = Vec::with_capacity(group.len());
        for (value, first) in group.iter().enumerate() {
            let scale = if *first == value {
                of_group(value)
            } else {
                scales[*first]
            };
            scales.push(scale);
        }
        scales
    }
}

/// A quantisation that is under way.
pub(super) struct Calibration<'a> {
    pub float: &'a FloatModel,
    pub kernels: KernelChoice,
    pub threads: usize,
    pub pictures: &'a mut dyn CalibrationPictures,
    pub progress: &'a mut dyn FnMut(QuantizeProgress) -> ControlFlow<()>,
}

/// The codes of each rounded value for each picture, as long as they are needed.
type Codes = Vec<Vec<Vec<u8>>>;

impl Calibration<'_> {
    fn step(
        &mut self,
        phase: QuantizePhase,
        done: usize,
        total: usize,
    ) -> Result<(), QuantizeError> {
        match (self.progress)(QuantizeProgress { phase, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(QuantizeError::Interrupted),
        }
    }

    fn read(&mut self, index: usize, input: &mut [f32]) -> Result<(), QuantizeError> {
        self.pictures
            .read(index, input)
            .map_err(QuantizeError::Pictures)
    }

    /// Histograms and mean inputs in float32.
    pub fn observe(&mut self) -> Result<Observed, QuantizeError> {
        let float = self.float;
        let count = self.pictures.count();
        let mut session = float.network.session(self.threads)?;
        let mut picture = vec![0.0; float.network.input().len()];
        let mut histograms = vec![Histogram::default(); float.observed.len()];
        let mut sums: Vec<Vec<f64>> = float
            .geometry
            .iter()
            .map(|geometry| vec![0.0; geometry.taps()])
            .collect();
        for index in 0..count {
            self.read(index, &mut picture)?;
            session.set_input(&picture);
            session.run()?;
            for (value, (observed, histogram)) in
                float.observed.iter().zip(&mut histograms).enumerate()
            {
                let values = match observed {
                    Some(output) => session.output(*output),
                    None => &picture,
                };
                histogram.add(values).map_err(|why| {
                    let name = &float.placement.values[value];
                    QuantizeError::Model(format!("{name}: {why} in float32"))
                })?;
                let convs = float.placement.convs.iter().zip(&float.geometry);
                for ((conv, geometry), sums) in convs.zip(&mut sums) {
                    if conv.input == value {
                        geometry.add_sums(values, sums, f64::from);
                    }
                }
            }
            self.step(QuantizePhase::Observe, index + 1, count)?;
        }
        let means = sums.iter().zip(&float.geometry);
        let means = means.map(|(sums, geometry)| {
            let pixels = (geometry.pixels() * count).max(1) as f64;
            sums.iter().map(|sum| sum / pixels).collect()
        });
        Ok(Observed {
            means: means.collect(),
            histograms,
        })
    }

    /// Corrects the convolutions in their order. Returns their codes, and what computes each
    /// segment with them.
    pub fn correct(
        &mut self,
        observed: &Observed,
        scales: &[Scale],
    ) -> Result<(Vec<ConvCodes>, Vec<Network>), QuantizeError> {
        let float = self.float;
        let count = self.pictures.count();
        let inputs = float.placement.convs.iter();
        let mut convs: Vec<ConvCodes> = inputs
            .zip(&float.convs)
            .map(|(conv, weights)| weights.codes(scales[conv.input]))
            .collect();
        let mut is_corrected = vec![false; convs.len()];
        let mut codes: Codes = vec![Vec::new(); float.observed.len()];
        let mut networks = Vec::with_capacity(float.segments.len());
        let mut picture = vec![0.0; float.network.input().len()];
        for (value, observed) in float.observed.iter().enumerate() {
            if observed.is_none() {
                for index in 0..count {
                    self.read(index, &mut picture)?;
                    codes[value].push(codes_of(scales[value], &picture));
                }
            }
        }
        for (at, segment) in float.segments.iter().enumerate() {
            for conv in &segment.convs {
                if !std::mem::replace(&mut is_corrected[*conv], true) {
                    let means = self.code_means(*conv, scales, &codes);
                    let of_file = &float.placement.convs[*conv];
                    float.convs[*conv].correct(
                        &mut convs[*conv],
                        of_file,
                        scales[of_file.input],
                        (&observed.means[*conv], &means),
                    );
                }
            }
            let network = self.network_of(segment, scales, &convs)?;
            if let Target::Value(value) = segment.target {
                let mut session = network.session(self.threads)?;
                for index in 0..count {
                    if segment.reads_picture {
                        self.read(index, &mut picture)?;
                    }
                    let of_input = |input: usize| codes[input][index].as_slice();
                    run(&mut session, segment, scales, of_input, &picture)?;
                    let computed = codes_of(scales[value], session.output(0));
                    codes[value].push(computed);
                    self.step(QuantizePhase::Correct, at, float.segments.len())?;
                }
            }
            networks.push(network);
            let later = &float.segments[at + 1..];
            for value in &segment.inputs {
                if !later.iter().any(|segment| segment.inputs.contains(value)) {
                    codes[*value] = Vec::new();
                }
            }
        }
        self.step(
            QuantizePhase::Correct,
            float.segments.len(),
            float.segments.len(),
        )?;
        Ok((convs, networks))
    }

    /// The mean input of each channel and tap of a convolution in the quantised network.
    fn code_means(&self, conv: usize, scales: &[Scale], codes: &Codes) -> Vec<f64> {
        let (geometry, value) = (
            &self.float.geometry[conv],
            self.float.placement.convs[conv].input,
        );
        let scale = scales[value];
        let zero = i64::from(scale.zero_point);
        let mut sums = vec![0_i64; geometry.taps()];
        for codes in &codes[value] {
            geometry.add_sums(codes, &mut sums, |code| i64::from(code) - zero);
        }
        let pixels = (geometry.pixels() * codes[value].len()).max(1) as f64;
        sums.iter()
            .map(|sum| *sum as f64 * f64::from(scale.scale) / pixels)
            .collect()
    }

    /// The segment with the real numbers that the codes stand for.
    fn network_of(
        &self,
        segment: &Segment,
        scales: &[Scale],
        convs: &[ConvCodes],
    ) -> Result<Network, QuantizeError> {
        let float = self.float;
        let mut file = segment.file(&float.model, &float.graph, &float.placement, &float.shapes);
        let graph = file.graph.get_or_insert_default();
        for conv in &segment.convs {
            let (of_file, codes) = (&float.placement.convs[*conv], &convs[*conv]);
            let position = segment.nodes.iter().position(|node| *node == of_file.node);
            let Some(node) = position.and_then(|at| graph.node.get_mut(at)) else {
                continue;
            };
            let names = ["weights", "bias"].map(|what| format!("quantized {what} {conv}"));
            node.input.truncate(1);
            node.input.extend(names.clone());
            let [weights, bias] = names;
            let real_bias = codes.real_bias(scales[of_file.input]);
            graph.initializer.extend([
                float_tensor(&weights, &of_file.shape, &codes.real_weights()),
                float_tensor(&bias, &[real_bias.len()], &real_bias),
            ]);
        }
        load(&file, self.kernels).map_err(|reason| {
            let name = &segment.name;
            QuantizeError::Model(format!("the part that computes {name}: {reason}"))
        })
    }

    /// The quantised network against the float one.
    pub fn measure(
        &mut self,
        scales: &[Scale],
        networks: &[Network],
    ) -> Result<QuantizeReport, QuantizeError> {
        let float = self.float;
        let count = self.pictures.count();
        let mut session = float.network.session(self.threads)?;
        let mut picture = vec![0.0; float.network.input().len()];
        let mut values = vec![Sqnr::default(); float.observed.len()];
        let mut outputs = vec![Sqnr::default(); float.graph.output.len()];
        for index in 0..count {
            self.read(index, &mut picture)?;
            session.set_input(&picture);
            session.run()?;
            let mut codes: Vec<Vec<u8>> = vec![Vec::new(); float.observed.len()];
            for (value, observed) in float.observed.iter().enumerate() {
                if observed.is_none() {
                    codes[value] = codes_of(scales[value], &picture);
                    add_codes(&mut values[value], &picture, scales[value], &codes[value]);
                }
            }
            for (segment, network) in float.segments.iter().zip(networks) {
                let mut part = network.session(self.threads)?;
                let of_input = |input: usize| codes[input].as_slice();
                run(&mut part, segment, scales, of_input, &picture)?;
                match segment.target {
                    Target::Value(value) => {
                        codes[value] = codes_of(scales[value], part.output(0));
                        if let Some(output) = float.observed[value] {
                            let truth = session.output(output);
                            add_codes(&mut values[value], truth, scales[value], &codes[value]);
                        }
                    }
                    Target::Output(output) => {
                        let pairs = session.output(output).iter().zip(part.output(0));
                        for (truth, computed) in pairs {
                            outputs[output].add(*truth, *computed);
                        }
                    }
                }
            }
            self.step(QuantizePhase::Measure, index + 1, count)?;
        }
        let names = float.graph.output.iter().map(|output| &output.name);
        let of_values = values.iter().zip(&float.placement.values);
        Ok(QuantizeReport {
            outputs: outputs.iter().zip(names).map(|(s, n)| s.named(n)).collect(),
            tensors: of_values.map(|(s, n)| s.named(n)).collect(),
            convolutions: float.placement.convs.len(),
            float_convolutions: float.placement.skipped.clone(),
            pictures: count,
            bytes: (0, 0),
        })
    }
}

/// Runs a segment on the values of its inputs' codes.
fn run<'a>(
    session: &mut Session,
    segment: &Segment,
    scales: &[Scale],
    codes: impl Fn(usize) -> &'a [u8],
    picture: &[f32],
) -> Result<(), NnError> {
    for (at, value) in segment.inputs.iter().enumerate() {
        let codes = codes(*value).iter();
        let values: Vec<f32> = codes.map(|code| scales[*value].value(*code)).collect();
        session.set_nth_input(at, &values);
    }
    if segment.reads_picture {
        session.set_nth_input(segment.inputs.len(), picture);
    }
    session.run()
}

fn codes_of(scale: Scale, values: &[f32]) -> Vec<u8> {
    values.iter().map(|value| scale.code(*value)).collect()
}

fn add_codes(sqnr: &mut Sqnr, truth: &[f32], scale: Scale, codes: &[u8]) {
    for (truth, code) in truth.iter().zip(codes) {
        sqnr.add(*truth, scale.value(*code));
    }
}
