//! From a graph to a program: where each value lies in memory, and in which order of axes.
//!
//! Pictures lie in NHWC. A transpose costs nothing by itself: it only changes which of the
//! value's axes is which in memory. Values are moved only where a reader needs another order. A
//! reshape is another name for the same memory. What a concat joins is written straight to its
//! place in the joined value where that place is one piece. Whoever is never alive at the same
//! time shares memory.

use std::collections::HashMap;

use crate::draft::{Draft, DraftStep, Piece, StepReport, allocate, finish};
use crate::graph::{Conv, Graph, Node, Op, ValueId};
use crate::kernels::{
    Binary, Isa, Link, MOST_LINKS, PackedDepthwise, PackedProduct, Program, Resize, Shape, Slot,
    Weights,
};

/// A program and where its inputs and outputs are.
#[derive(Debug)]
pub(super) struct Plan {
    pub program: Program,
    pub inputs: Vec<PlacedInput>,
    pub outputs: Vec<Slot>,
    /// One list for each step.
    pub reports: Vec<Vec<StepReport>>,
}

/// An input's place and the order of its axes there, outermost first.
#[derive(Clone, Debug)]
pub(super) struct PlacedInput {
    pub slot: Slot,
    pub order: Vec<usize>,
}

/// How to plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanOptions {
    pub isa: Isa,
    /// A value of more bytes than this between two convolutions is worth a chain.
    pub chain_bytes: usize,
    /// Scratch memory of a chain, in bytes.
    pub scratch_bytes: usize,
}

impl PlanOptions {
    /// What measured best.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            chain_bytes: 400 << 10,
            scratch_bytes: 384 << 10,
        }
    }
}

/// A value's memory and the order of its axes there.
#[derive(Clone, Debug)]
struct Place {
    piece: usize,
    order: Vec<usize>,
}

struct Planner<'a> {
    graph: &'a Graph,
    pieces: Vec<Piece>,
    places: HashMap<ValueId, Place>,
    /// Values that were moved into another order before.
    moved: HashMap<(ValueId, Vec<usize>), usize>,
    steps: Vec<DraftStep>,
}

/// Plans the graph.
pub(super) fn plan(graph: &Graph, options: PlanOptions) -> Result<Plan, String> {
    let mut planner = Planner {
        graph,
        pieces: Vec::new(),
        places: HashMap::new(),
        moved: HashMap::new(),
        steps: Vec::new(),
    };
    for input in &graph.inputs {
        let order = input_order(graph, *input);
        let piece = planner.piece(graph.len_of(*input));
        planner.places.insert(*input, Place { piece, order });
    }
    for node in &graph.nodes {
        planner.node(node)?;
    }
    let outputs = graph
        .outputs
        .iter()
        .map(|value| {
            let order: Vec<usize> = (0..graph.shapes[*value].len()).collect();
            planner.in_order(*value, &order)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<_> = graph
        .inputs
        .iter()
        .map(|v| planner.places[v].clone())
        .collect();
    planner.chain(&outputs, options);
    let input_pieces: Vec<usize> = inputs.iter().map(|place| place.piece).collect();
    let (slots, arena_len) = allocate(&planner.pieces, &planner.steps, &input_pieces, &outputs);
    let mut steps = Vec::new();
    let mut reports = Vec::new();
    for step in planner.steps {
        steps.push(finish(
            step.draft,
            &slots,
            slots[step.output],
            options.scratch_bytes,
        ));
        reports.push(step.reports);
    }
    Ok(Plan {
        program: Program::new(steps, arena_len, options.isa),
        inputs: inputs
            .into_iter()
            .map(|place| PlacedInput {
                slot: slots[place.piece],
                order: place.order,
            })
            .collect(),
        outputs: outputs.iter().map(|piece| slots[*piece]).collect(),
        reports,
    })
}

/// Pixels outermost where the first reader wants a picture, else the file's order.
fn input_order(graph: &Graph, input: ValueId) -> Vec<usize> {
    let reader = graph.nodes.iter().find(|node| node.inputs.contains(&input));
    match reader.map(|node| &node.op) {
        Some(Op::Conv(_) | Op::Resize(_)) => IMAGE.to_vec(),
        _ => (0..graph.shapes[input].len()).collect(),
    }
}

/// `[1, c, h, w]` with the channels innermost.
const IMAGE: [usize; 4] = [0, 2, 3, 1];

/// The order without axes of one element, which lie anywhere.
fn real_axes(order: &[usize], shape: &[usize]) -> Vec<usize> {
    order
        .iter()
        .copied()
        .filter(|axis| shape[*axis] != 1)
        .collect()
}

impl Planner<'_> {
    fn piece(&mut self, len: usize) -> usize {
        self.pieces.push(Piece { len, part_of: None });
        self.pieces.len() - 1
    }

    fn place(&self, value: ValueId) -> Result<&Place, String> {
        self.places
            .get(&value)
            .ok_or_else(|| format!("value {value} is read before it is made"))
    }

    fn push(&mut self, draft: Draft, output: usize, reports: Vec<StepReport>) {
        self.steps.push(DraftStep {
            draft,
            output,
            reports,
        });
    }

    /// The value's memory with its axes in `order`, moved there if need be.
    fn in_order(&mut self, value: ValueId, order: &[usize]) -> Result<usize, String> {
        let shape = &self.graph.shapes[value];
        let place = self.place(value)?.clone();
        let (have, want) = (real_axes(&place.order, shape), real_axes(order, shape));
        if have == want {
            return Ok(place.piece);
        }
        if let Some(piece) = self.moved.get(&(value, want.clone())) {
            return Ok(*piece);
        }
        let step_of = |axis: &usize| -> usize {
            let at = have.iter().position(|a| a == axis).unwrap_or(have.len());
            have[at + 1..].iter().map(|a| shape[*a]).product()
        };
        let sizes: Vec<usize> = want.iter().map(|axis| shape[*axis]).collect();
        let steps = want.iter().map(step_of).collect();
        let report = report("", "permute", shape, 0, 0);
        let piece = self.piece(self.graph.len_of(value));
        self.push(
            Draft::Permute {
                input: place.piece,
                sizes,
                steps,
            },
            piece,
            vec![report],
        );
        self.moved.insert((value, want), piece);
        Ok(piece)
    }

    fn made(&mut self, value: ValueId, order: Vec<usize>) -> usize {
        let piece = self.piece(self.graph.len_of(value));
        self.places.insert(value, Place { piece, order });
        piece
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let shape = &graph.shapes[node.output];
        let input_shape = &graph.shapes[node.inputs[0]];
        let simple = |op| vec![report(&node.name, op, shape, 0, 0)];
        match &node.op {
            Op::Conv(conv) => self.conv(node, conv)?,
            Op::Affine { mul, add } => {
                let order = if mul.len() == 1 {
                    self.place(node.inputs[0])?.order.clone()
                } else {
                    IMAGE.to_vec()
                };
                let input = self.in_order(node.inputs[0], &order)?;
                let between = self.piece(graph.len_of(node.output));
                let (mul, add) = (Err(mul.clone()), Err(add.clone()));
                self.push(
                    Draft::Binary(Binary::Mul, input, mul),
                    between,
                    simple("scale"),
                );
                let output = self.made(node.output, order);
                self.push(Draft::Binary(Binary::Add, between, add), output, Vec::new());
            }
            Op::Unary(function) => {
                let Place { piece, order } = self.place(node.inputs[0])?.clone();
                let output = self.made(node.output, order);
                self.push(Draft::Unary(*function, piece), output, simple("function"));
            }
            Op::Binary(function) => {
                let same = graph.shapes[node.inputs[1]] == *input_shape;
                let order = if same {
                    self.place(node.inputs[0])?.order.clone()
                } else {
                    IMAGE.to_vec()
                };
                let left = self.in_order(node.inputs[0], &order)?;
                let right = self.in_order(node.inputs[1], &order)?;
                let output = self.made(node.output, order);
                let draft = Draft::Binary(*function, left, Ok(right));
                self.push(draft, output, simple("binary"));
            }
            Op::GlobalSum => {
                let input = self.in_order(node.inputs[0], &IMAGE)?;
                let output = self.made(node.output, IMAGE.to_vec());
                self.push(Draft::GlobalSum(input), output, simple("global sum"));
            }
            Op::Pad { .. } => return Err(format!("{}: a border without its reader", node.name)),
            Op::Permute { order } => {
                let place = self.place(node.inputs[0])?.clone();
                let moved = place
                    .order
                    .iter()
                    .filter_map(|axis| order.iter().position(|from| from == axis));
                let place = Place {
                    piece: place.piece,
                    order: moved.collect(),
                };
                self.places.insert(node.output, place);
            }
            Op::Reshape => {
                let order: Vec<usize> = (0..input_shape.len()).collect();
                let piece = self.in_order(node.inputs[0], &order)?;
                let order = (0..shape.len()).collect();
                self.places.insert(node.output, Place { piece, order });
            }
            Op::Concat { axis } => self.concat(node, *axis)?,
            Op::Spread => {
                let input = self.in_order(node.inputs[0], &IMAGE)?;
                let output = self.made(node.output, IMAGE.to_vec());
                let (rows, len) = (shape[2] * shape[3], shape[1]);
                let draft = Draft::Copy {
                    input,
                    rows,
                    len,
                    input_step: 0,
                    output_step: len,
                };
                self.push(draft, output, simple("repeat"));
            }
            Op::Resize(taps) => {
                let input = self.in_order(node.inputs[0], &IMAGE)?;
                let output = self.made(node.output, IMAGE.to_vec());
                let resize = Resize {
                    input: Slot::default(),
                    output: Slot::default(),
                    input_row: input_shape[3] * input_shape[1],
                    channels: shape[1],
                    down: taps.down.clone(),
                    right: taps.right.clone(),
                };
                self.push(Draft::Resize { input, resize }, output, simple("resize"));
            }
        }
        Ok(())
    }

    fn conv(&mut self, node: &Node, conv: &Conv) -> Result<(), String> {
        let graph = self.graph;
        let shape_of = |value: ValueId| match graph.shapes[value][..] {
            [1, c, h, w] => Ok(Shape { h, w, c }),
            _ => Err(format!("{}: not a picture", node.name)),
        };
        let input = self.in_order(node.inputs[0], &IMAGE)?;
        let mut more = node.inputs[1..].iter();
        let mut next = |wanted: bool| -> Result<Option<usize>, String> {
            match more.next() {
                Some(value) if wanted => self.in_order(*value, &IMAGE).map(Some),
                _ => Ok(None),
            }
        };
        let residual = if conv.residual { next(true)? } else { None };
        let bias = if conv.bias_input { next(true)? } else { None };
        let weights = if conv.depthwise {
            Weights::Depthwise(PackedDepthwise::new(&conv.weights, &conv.bias))
        } else {
            let (channels, taps) = (shape_of(node.inputs[0])?.c, conv.taps());
            let weights = taps_last(&conv.weights, channels, taps / channels.max(1));
            Weights::Dense(PackedProduct::new(&weights, &conv.bias, taps))
        };
        let link = Link {
            weights,
            window: conv.window,
            input: shape_of(node.inputs[0])?,
            output: shape_of(node.output)?,
            activation: conv.activation,
        };
        let op = match (&link.weights, conv.window.kernel) {
            (Weights::Depthwise(_), (3, 3)) => "depthwise 3x3",
            (Weights::Depthwise(_), (5, 5)) => "depthwise 5x5",
            (Weights::Depthwise(_), _) => "depthwise",
            (Weights::Dense(_), (1, 1)) => "pointwise",
            (Weights::Dense(_), (3, 3)) => "conv 3x3",
            (Weights::Dense(_), _) => "conv",
        };
        let parameters = (conv.weights.len() + conv.bias.len()) as u64;
        let shape = &graph.shapes[node.output];
        let reports = vec![report(&node.name, op, shape, link.macs(), parameters)];
        let output = self.made(node.output, IMAGE.to_vec());
        self.push(
            Draft::Conv {
                links: vec![link],
                input,
                residual,
                bias,
            },
            output,
            reports,
        );
        Ok(())
    }

    /// Joins values; those that may be written in their place right away are.
    fn concat(&mut self, node: &Node, axis: usize) -> Result<(), String> {
        let graph = self.graph;
        let shape = &graph.shapes[node.output];
        let order = self.place(node.inputs[0])?.order.clone();
        let at = order
            .iter()
            .position(|a| *a == axis)
            .ok_or("no such axis")?;
        let inner: usize = order[at + 1..].iter().map(|a| shape[*a]).product();
        let outer: usize = order[..at].iter().map(|a| shape[*a]).product();
        let row = inner * shape[axis];
        let output = self.made(node.output, order.clone());
        let mut first = 0;
        for input in &node.inputs {
            let piece = self.in_order(*input, &order)?;
            let len = inner * graph.shapes[*input][axis];
            let free = self.pieces[piece].part_of.is_none()
                && self.pieces[piece].len == len
                && self.steps.iter().any(|step| step.output == piece);
            if outer == 1 && free {
                self.pieces[piece].part_of = Some((output, first));
            } else {
                // A part of the joined value, so that the copy has a place of its own to name.
                let part = self.piece((outer - 1) * row + len);
                self.pieces[part].part_of = Some((output, first));
                let draft = Draft::Copy {
                    input: piece,
                    rows: outer,
                    len,
                    input_step: len,
                    output_step: row,
                };
                let reports = vec![report(&node.name, "join", shape, 0, 0)];
                self.push(draft, part, reports);
            }
            first += len;
        }
        Ok(())
    }

    /// Joins convolutions whose value between is large and read by nobody else, the largest first.
    fn chain(&mut self, outputs: &[usize], options: PlanOptions) {
        let whole = |planner: &Self, piece: usize| {
            let parts = planner.pieces.iter().filter_map(|p| p.part_of);
            planner.pieces[piece].part_of.is_none() && parts.into_iter().all(|(of, _)| of != piece)
        };
        let mut between: Vec<usize> = (0..self.pieces.len())
            .filter(|piece| self.pieces[*piece].len * size_of::<f32>() > options.chain_bytes)
            .filter(|piece| whole(self, *piece) && !outputs.contains(piece))
            .collect();
        between.sort_by_key(|piece| std::cmp::Reverse(self.pieces[*piece].len));
        for piece in between {
            let readers: Vec<usize> = (0..self.steps.len())
                .filter(|reader| self.steps[*reader].reads().contains(&piece))
                .collect();
            let maker = self.steps.iter().position(|step| step.output == piece);
            let (Some(maker), &[reader]) = (maker, &readers[..]) else {
                continue;
            };
            let (
                Draft::Conv {
                    links,
                    residual: None,
                    bias: None,
                    ..
                },
                Draft::Conv {
                    links: more,
                    input,
                    residual,
                    bias,
                },
            ) = (&self.steps[maker].draft, &self.steps[reader].draft)
            else {
                continue;
            };
            if *input != piece
                || *residual == Some(piece)
                || *bias == Some(piece)
                || links.len() + more.len() > MOST_LINKS
            {
                continue;
            }
            let before = self.steps.remove(maker);
            let after = &mut self.steps[reader - 1];
            if let (
                Draft::Conv {
                    links: front,
                    input: from,
                    ..
                },
                Draft::Conv { links, input, .. },
            ) = (before.draft, &mut after.draft)
            {
                links.splice(0..0, front);
                *input = from;
                after.reports.splice(0..0, before.reports);
            }
        }
    }
}

/// Weights `[out][in][kernel_h][kernel_w]` as `[out][kernel_h][kernel_w][in]`.
fn taps_last(weights: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    let mut moved = Vec::with_capacity(weights.len());
    for row in weights.chunks_exact((channels * taps).max(1)) {
        for tap in 0..taps {
            moved.extend((0..channels).map(|channel| row[channel * taps + tap]));
        }
    }
    moved
}

fn report(name: &str, op: &'static str, shape: &[usize], macs: u64, parameters: u64) -> StepReport {
    StepReport {
        name: name.to_owned(),
        op,
        output_shape: shape.to_vec(),
        macs,
        parameters,
    }
}
