//! Which convolutions are quantised, and where values are rounded to codes.
//!
//! A value is rounded where an operator that computes with codes reads it: the input of every
//! quantised convolution, and of additions, concatenations, pooling and the like on the way to
//! another quantised convolution. An activation function belongs to the operator before it, so that
//! the value is rounded once, behind it. What only leads to the network's outputs stays float32:
//! the convolutions of the heads read codes and write floats.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::proto::{constant_floats, dims, initializer, int, is_output, name_of};

/// Functions of one value, which belong to the operator before them.
const FUNCTIONS: [&str; 10] = [
    "Clip",
    "Elu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "PRelu",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
];

/// Operators whose result consists of values of their first input.
const COPIES: [&str; 14] = [
    "Concat",
    "Dropout",
    "Expand",
    "Flatten",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Operators that compute new values from codes.
const COMPUTES: [&str; 7] = [
    "Add",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Mul",
    "ReduceMean",
    "Sub",
];

/// A convolution that is quantised.
#[derive(Clone, Debug)]
pub(super) struct QuantizedConv {
    /// Index of its node.
    pub node: usize,
    /// Index of its input among the rounded values.
    pub input: usize,
    /// The weights' dimensions: output channels, input channels of a group, rows, columns.
    pub shape: [usize; 4],
    /// Whether each output channel reads one input channel.
    pub depthwise: bool,
}

/// Where a network is quantised.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// The convolutions, in the order of the file.
    pub convs: Vec<QuantizedConv>,
    /// Names of the values that are rounded, in the order in which they are computed.
    pub values: Vec<String>,
    /// For each value the first one that it shares its scale with.
    pub group: Vec<usize>,
    /// Names of the convolutions that stay in float32, and why.
    pub skipped: Vec<(String, &'static str)>,
}

impl Placement {
    /// Index of the rounded value `name`.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.values.iter().position(|value| value == name)
    }
}

/// Decides what is quantised.
///
/// # Errors
/// When the nodes are not in the order of computation, or no convolution can be quantised.
pub(super) fn place(graph: &GraphProto) -> Result<Placement, String> {
    let readers = readers(graph)?;
    let mut placement = Placement::default();
    let mut is_quantized = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        if node.op_type != "Conv" {
            continue;
        }
        match quantizable(graph, node) {
            Ok(conv) => {
                is_quantized.insert(index, conv);
            }
            Err(why) => placement.skipped.push((name_of(node).to_owned(), why)),
        }
    }
    if is_quantized.is_empty() {
        return Err(match placement.skipped.first() {
            Some((name, why)) => {
                format!("no convolution of the model can be quantised; the first, {name}: {why}")
            }
            None => "the model has no convolution, which is what is quantised".to_owned(),
        });
    }
    let search = Search {
        graph,
        readers: &readers,
        convs: is_quantized.keys().copied().collect(),
        wanted: HashSet::new(),
    };
    placement.values = search.values();
    for (index, (shape, depthwise)) in is_quantized {
        let node = &graph.node[index];
        match placement.index(&node.input[0]) {
            Some(input) => placement.convs.push(QuantizedConv {
                node: index,
                input,
                shape,
                depthwise,
            }),
            // Of a constant.
            None => placement.skipped.push((
                name_of(node).to_owned(),
                "its input does not depend on the picture",
            )),
        }
    }
    placement.group = groups(graph, &placement);
    Ok(placement)
}

/// The nodes that read each value that depends on the input.
fn readers(graph: &GraphProto) -> Result<HashMap<&str, Vec<usize>>, String> {
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut known: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    for input in &graph.input {
        readers.insert(&input.name, Vec::new());
    }
    for (index, node) in graph.node.iter().enumerate() {
        let mut is_dynamic = false;
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if let Some(of_input) = readers.get_mut(input.as_str()) {
                if of_input.last() != Some(&index) {
                    of_input.push(index);
                }
                is_dynamic = true;
            } else if !known.contains(input.as_str()) {
                return Err(format!(
                    "{} reads {input}, which no node before it computes",
                    name_of(node)
                ));
            }
        }
        // The shape of a value is the same for all pictures.
        let is_dynamic = is_dynamic && node.op_type != "Shape";
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if is_dynamic {
                readers.insert(output, Vec::new());
            } else {
                known.insert(output);
            }
        }
    }
    Ok(readers)
}

/// Shape of the weights, and whether the convolution is depthwise; or why it is not quantised.
fn quantizable(graph: &GraphProto, node: &NodeProto) -> Result<([usize; 4], bool), &'static str> {
    let weight = node
        .input
        .get(1)
        .and_then(|name| initializer(graph, name))
        .ok_or("its weights are not constant")?;
    let shape = dims(weight).and_then(|dims| <[usize; 4]>::try_from(dims).ok());
    let shape = shape.ok_or("it is not a convolution over rows and columns")?;
    let weights = constant_floats(graph, &weight.name).ok_or("its weights are not float32")?;
    if weights.is_empty() || !weights.iter().all(|w| w.is_finite()) {
        return Err("its weights are not finite");
    }
    if let Some(name) = node.input.get(2).filter(|name| !name.is_empty()) {
        let bias = constant_floats(graph, name).ok_or("its bias is not constant")?;
        if bias.len() != shape[0] || !bias.iter().all(|b| b.is_finite()) {
            return Err("its bias is not one finite number for each channel");
        }
    }
    match int(node, "group").unwrap_or(1) {
        1 => Ok((shape, false)),
        groups if shape[1] == 1 && usize::try_from(groups).is_ok_and(|g| shape[0] % g == 0) => {
            Ok((shape, true))
        }
        _ => Err("its groups are neither one nor as many as its channels"),
    }
}

struct Search<'a> {
    graph: &'a GraphProto,
    readers: &'a HashMap<&'a str, Vec<usize>>,
    convs: HashSet<usize>,
    /// Values that lead to a quantised convolution by operators that compute with codes.
    wanted: HashSet<&'a str>,
}

impl<'a> Search<'a> {
    /// The values that are rounded.
    fn values(mut self) -> Vec<String> {
        let graph = self.graph;
        let outputs = || {
            let computed = graph.node.iter().flat_map(|node| &node.output);
            let inputs = graph.input.iter().map(|input| &input.name);
            inputs.chain(computed).map(String::as_str)
        };
        let all: Vec<&'a str> = outputs().collect();
        for name in all.iter().rev() {
            if self.is_wanted(name) {
                self.wanted.insert(name);
            }
        }
        let (mut values, mut inside) = (Vec::new(), HashSet::new());
        for name in all {
            if !self.wanted.contains(name) || inside.contains(name) {
                continue;
            }
            // A value of several operators' functions is met once for each of them.
            let last = self.behind_functions(name, &mut inside);
            if last == name {
                values.push(name.to_owned());
            }
        }
        values
    }

    fn is_wanted(&self, name: &str) -> bool {
        let Some(readers) = self.readers.get(name) else {
            return false;
        };
        readers.iter().any(|index| {
            let node = &self.graph.node[*index];
            let op = node.op_type.as_str();
            let is_first = node.input.first().map(String::as_str) == Some(name);
            let reads_all = matches!(op, "Add" | "Concat" | "Mul" | "Sub");
            let computes = COPIES.contains(&op)
                || COMPUTES.contains(&op)
                || FUNCTIONS.contains(&op)
                || self.is_affine(node);
            if self.convs.contains(index) {
                return is_first;
            }
            let leads_on = || {
                let mut outputs = node.output.iter();
                outputs.any(|output| self.wanted.contains(output.as_str()))
            };
            computes && (is_first || reads_all) && leads_on()
        })
    }

    /// The value behind the activation functions that follow `name`. What lies between goes to
    /// `inside`.
    fn behind_functions(&self, name: &'a str, inside: &mut HashSet<&'a str>) -> &'a str {
        let mut at = name;
        loop {
            let next = self
                .behind_function(at)
                .or_else(|| self.behind_gate(at, inside));
            let Some(next) = next.filter(|next| self.wanted.contains(next)) else {
                return at;
            };
            at = next;
        }
    }

    /// The value of the function that alone reads `name`.
    fn behind_function(&self, name: &str) -> Option<&'a str> {
        let node = self.only_reader(name)?;
        let op = node.op_type.as_str();
        let is_first = node.input.first().map(String::as_str) == Some(name);
        (FUNCTIONS.contains(&op) && is_first || self.is_affine(node))
            .then(|| node.output.first().map(String::as_str))
            .flatten()
    }

    /// The product of `name` and a function of it, such as an h-swish that is written out.
    fn behind_gate(&self, name: &str, inside: &mut HashSet<&'a str>) -> Option<&'a str> {
        let readers = self.readers.get(name)?;
        let &[first, second] = readers.as_slice() else {
            return None;
        };
        if is_output(self.graph, name) {
            return None;
        }
        let nodes = &self.graph.node;
        for (chain, product) in [(first, second), (second, first)] {
            let product = &nodes[product];
            if product.op_type != "Mul" {
                continue;
            }
            let mut between = Vec::new();
            let mut node = &nodes[chain];
            while FUNCTIONS.contains(&node.op_type.as_str()) || self.is_affine(node) {
                let output = node.output.first()?.as_str();
                between.push(output);
                node = match self.only_reader(output) {
                    Some(next) => next,
                    None => break,
                };
                if node.output == product.output && !between.is_empty() {
                    inside.extend(between);
                    return product.output.first().map(String::as_str);
                }
            }
        }
        None
    }

    fn only_reader(&self, name: &str) -> Option<&'a NodeProto> {
        match self.readers.get(name)?[..] {
            [only] if !is_output(self.graph, name) => Some(&self.graph.node[only]),
            _ => None,
        }
    }

    /// Whether the node adds a number to its input, or multiplies it by one.
    fn is_affine(&self, node: &NodeProto) -> bool {
        let is_constant = |name: &String| {
            constant_floats(self.graph, name).is_some_and(|values| values.len() == 1)
        };
        matches!(node.op_type.as_str(), "Add" | "Sub" | "Mul" | "Div")
            && node.input.iter().any(is_constant)
    }
}

/// Values that share one scale: those of an operator that copies.
fn groups(graph: &GraphProto, placement: &Placement) -> Vec<usize> {
    let mut group: Vec<usize> = (0..placement.values.len()).collect();
    for node in &graph.node {
        let op = node.op_type.as_str();
        if !COPIES.contains(&op) {
            continue;
        }
        let inputs = node.input.iter();
        let inputs = inputs.take(if op == "Concat" { usize::MAX } else { 1 });
        let members = inputs.chain(&node.output);
        let members: Vec<usize> = members.filter_map(|name| placement.index(name)).collect();
        for pair in members.windows(2) {
            let (a, b) = (group[pair[0]], group[pair[1]]);
            for of_value in &mut group {
                if *of_value == a.max(b) {
                    *of_value = a.min(b);
                }
            }
        }
    }
    group
}
