//! The rewriting of one graph, node by node in the order of the file.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::constant::{CodeType, Constant, Values, type_name};
use super::fake_quantize::fake_quantize_node;
use super::node::{attribute, describe, element_type, input, name_of};
use super::params::QuantParams;
use super::weight_scales::{WeightScales, grid_scales};
use super::{names, qoperator};
use crate::kernels::FakeQuantize;

/// Most values of all constants that are computed here.
const MAX_FOLDED: usize = 1 << 27;

/// What is known of a tensor that holds codes in the file, and their values in the float graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Quantized {
    /// Rounded and limited by these parameters; the type of the codes in the file.
    Known(FakeQuantize, CodeType),
    /// Rounded with a scale for each channel.
    Channels(QuantParams),
    /// It comes from the graph input of this name, without a scale so far.
    Input(String),
}

impl Quantized {
    /// Whether codes of both stand for the same values.
    fn same_codes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(a, a_type), Self::Known(b, b_type)) => {
                a.scale == b.scale && a.zero_point == b.zero_point && a_type == b_type
            }
            (Self::Input(a), Self::Input(b)) => a == b,
            _ => false,
        }
    }
}

/// The graph on its way from codes to values.
pub(super) struct Dequantizer<'a> {
    /// Initializers and the tensors of `Constant` nodes.
    tensors: HashMap<&'a str, &'a TensorProto>,
    /// Constants that were computed; `true` if no node that is left computes them.
    pub folded: HashMap<String, (Rc<Constant>, bool)>,
    /// Number of values of all of them.
    folded_len: usize,
    /// By names of the file.
    pub quantized: HashMap<String, Quantized>,
    /// Names of tensors that are the same in the float graph.
    renamed: HashMap<String, String>,
    outputs: HashSet<&'a str>,
    uses: HashMap<&'a str, usize>,
    /// Graph inputs that are read as codes, and as plain numbers.
    dequantized_inputs: HashSet<String>,
    raw_inputs: HashMap<String, String>,
    pub nodes: Vec<NodeProto>,
    /// Index of the node that rounds, by its output.
    roundings: HashMap<String, usize>,
    weight_scales: WeightScales,
}

impl<'a> Dequantizer<'a> {
    /// Rewrites the graph; gives the scales of its weights.
    pub fn run(graph: &mut GraphProto) -> Result<WeightScales, String> {
        names::check_single_assignment(graph)?;
        let old = graph.clone();
        let mut this = Dequantizer::new(&old);
        for node in &old.node {
            this.node(node)?;
        }
        this.finish(graph)
    }

    fn new(graph: &'a GraphProto) -> Self {
        let mut tensors: HashMap<&str, &TensorProto> = HashMap::new();
        for tensor in &graph.initializer {
            tensors.insert(&tensor.name, tensor);
        }
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            let value = attribute(node, "value").and_then(|value| value.t.as_ref());
            if let (Some(output), Some(tensor)) = (node.output.first(), value) {
                tensors.insert(output, tensor);
            }
        }
        let mut quantized = HashMap::new();
        for info in &graph.input {
            let code_type = element_type(&mut info.clone()).and_then(|t| CodeType::of(*t));
            let is_codes = matches!(code_type, Some(CodeType::U8 | CodeType::I8));
            if is_codes && !tensors.contains_key(info.name.as_str()) {
                let name = info.name.clone();
                quantized.insert(name.clone(), Quantized::Input(name));
            }
        }
        Self {
            tensors,
            folded: HashMap::new(),
            folded_len: 0,
            quantized,
            renamed: HashMap::new(),
            outputs: graph.output.iter().map(|o| o.name.as_str()).collect(),
            uses: names::count_uses(graph),
            dequantized_inputs: HashSet::new(),
            raw_inputs: HashMap::new(),
            nodes: Vec::new(),
            roundings: HashMap::new(),
            weight_scales: WeightScales::default(),
        }
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), String> {
        match node.op_type.as_str() {
            "QuantizeLinear" => self.quantize_linear(node),
            "DequantizeLinear" => self.dequantize_linear(node),
            op if qoperator::is_qoperator(op) => self.qoperator(node),
            _ => self.other_node(node),
        }
    }

    /// The constant of this name, if it is one.
    pub fn constant(&self, name: &str) -> Result<Option<Rc<Constant>>, String> {
        if let Some((constant, _)) = self.folded.get(name) {
            return Ok(Some(constant.clone()));
        }
        match self.tensors.get(name) {
            // The tensor of a `Constant` node need not have a name.
            Some(tensor) if tensor.name.is_empty() => Constant::read(&TensorProto {
                name: name.to_owned(),
                ..(*tensor).clone()
            }),
            Some(tensor) => Constant::read(tensor),
            None => return Ok(None),
        }
        .map(|constant| Some(Rc::new(constant)))
    }

    /// Adds a constant that was computed; `is_alone` if no node that is left computes it.
    pub fn add_folded(
        &mut self,
        name: &str,
        constant: Constant,
        is_alone: bool,
    ) -> Result<(), String> {
        self.folded_len += constant.len();
        if self.folded_len > MAX_FOLDED {
            return Err(format!(
                "its quantised constants have more than {MAX_FOLDED} values"
            ));
        }
        let constant = (Rc::new(constant), is_alone);
        self.folded.insert(name.to_owned(), constant);
        Ok(())
    }

    /// Number of values and type of a constant that is in the file as such.
    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.tensors.get(name).copied()
    }

    /// Scale and zero point in the inputs of these indices.
    pub fn params(
        &self,
        node: &NodeProto,
        scale: usize,
        zero_point: usize,
        default: CodeType,
    ) -> Result<QuantParams, String> {
        let at = describe(node);
        let read = |what: &str, name: &str| {
            let constant = self.constant(name).map_err(|e| format!("{at}: {e}"))?;
            constant.ok_or_else(|| format!("{at}: its {what} {name} is not a constant"))
        };
        let name = input(node, scale).ok_or_else(|| format!("{at}: it has no scale"))?;
        let scale = read("scale", name)?;
        let zero_point = input(node, zero_point)
            .map(|name| read("zero point", name))
            .transpose()?;
        QuantParams::new(&at, &scale, zero_point.as_deref(), default)
    }

    fn axis(node: &NodeProto) -> Result<i64, String> {
        if attribute(node, "block_size").is_some_and(|size| size.i != 0) {
            let at = describe(node);
            return Err(format!("{at}: blocked quantisation is not supported"));
        }
        Ok(attribute(node, "axis").map_or(1, |axis| axis.i))
    }

    fn quantize_linear(&mut self, node: &NodeProto) -> Result<(), String> {
        let at = describe(node);
        let (Some(from), Some(to)) = (input(node, 0), node.output.first()) else {
            return Err(format!("{at}: it has no input or output"));
        };
        let axis = Self::axis(node)?;
        let default = match attribute(node, "output_dtype").map(|a| a.i as i32) {
            None | Some(0) => CodeType::U8,
            Some(wanted) => CodeType::of(wanted).ok_or_else(|| {
                let wanted = type_name(wanted);
                format!("{at}: its type is {wanted}, expected int8 or uint8")
            })?,
        };
        let params = self.params(node, 1, 2, default)?;
        if let Some(constant) = self.constant(from).map_err(|e| format!("{at}: {e}"))? {
            let codes = params.quantize(&at, axis, &constant)?;
            self.add_folded(to, codes, false)?;
            self.nodes.push(node.clone());
            return Ok(());
        }
        if self.quantized.contains_key(from) {
            return Err(format!("{at}: its input {from} is quantised already"));
        }
        if params.scales.len() > 1 {
            return self.quantize_channels(node, from, to, axis, params);
        }
        let values = params.per_tensor(&at)?;
        self.fake_quantize(name_of(node), from, to, (values, params.code_type));
        Ok(())
    }

    /// Adds node `name`, which rounds and limits the values of `from`; `to` held their codes.
    pub fn fake_quantize(
        &mut self,
        name: &str,
        from: &str,
        to: &str,
        (params, code_type): (FakeQuantize, CodeType),
    ) {
        self.roundings.insert(to.to_owned(), self.nodes.len());
        self.nodes.push(fake_quantize_node(name, from, to, params));
        let known = Quantized::Known(params, code_type);
        self.quantized.insert(to.to_owned(), known);
    }

    fn dequantize_linear(&mut self, node: &NodeProto) -> Result<(), String> {
        let at = describe(node);
        let (Some(from), Some(to)) = (input(node, 0), node.output.first()) else {
            return Err(format!("{at}: it has no input or output"));
        };
        let axis = Self::axis(node)?;
        if let Some(codes) = self.constant(from).map_err(|e| format!("{at}: {e}"))? {
            let Some(default) = codes.code_type() else {
                let found = codes.type_name();
                return Err(format!(
                    "{at}: its input is {found}, expected int8, uint8 or int32"
                ));
            };
            let values = self.params(node, 1, 2, default)?;
            let values = values.dequantize(&at, axis, &codes)?;
            return self.add_folded(to, values, true);
        }
        let params = self.params(node, 1, 2, self.default_type(from))?;
        if params.scales.len() > 1 {
            return self.dequantize_channels(node, from, to, &params);
        }
        let value = self.value_of(node, from, &params)?;
        self.same(to, &value);
        Ok(())
    }

    /// The type of zero points that are left out.
    pub fn default_type(&self, name: &str) -> CodeType {
        match self.quantized.get(name) {
            Some(Quantized::Known(_, code_type)) => *code_type,
            Some(Quantized::Channels(params)) => params.code_type,
            _ => CodeType::U8,
        }
    }

    /// The tensor with the values of the quantised tensor `name`, read with these parameters.
    pub fn value_of(
        &mut self,
        node: &NodeProto,
        name: &str,
        params: &QuantParams,
    ) -> Result<String, String> {
        let at = describe(node);
        let values = params.per_tensor(&at)?;
        let wanted = Quantized::Known(values, params.code_type);
        match self.quantized.get(name) {
            None => Err(format!(
                "{at}: its input {name} is neither constant nor quantised"
            )),
            Some(known @ Quantized::Known(found, found_type)) => {
                if known.same_codes(&wanted) {
                    return Ok(name.to_owned());
                }
                let text = |params: &FakeQuantize, code_type: CodeType| {
                    let zero_point = i32::from(params.zero_point) + code_type.range().0;
                    let (scale, type_name) = (params.scale, code_type.name());
                    format!("scale {scale}, zero point {zero_point} of {type_name}")
                };
                Err(format!(
                    "{at}: {} for {name}, which was quantised with {}",
                    text(&values, params.code_type),
                    text(found, *found_type)
                ))
            }
            Some(Quantized::Channels(known)) => Err(format!(
                "{at}: one scale for {name}, which was quantised with {}",
                known.scales.len()
            )),
            Some(Quantized::Input(root)) => {
                self.dequantized_inputs.insert(root.clone());
                let to = format!("{name}.{}", self.nodes.len());
                let values = (values, params.code_type);
                self.fake_quantize(&format!("{to}.quantize"), name, &to, values);
                Ok(to)
            }
        }
    }

    /// Tensor `name` of the file is tensor `as_name` in the float graph.
    pub fn same(&mut self, name: &str, as_name: &str) {
        let is_output = |name: &str| self.outputs.contains(name);
        if !is_output(name) {
            self.renamed.insert(name.to_owned(), as_name.to_owned());
        } else if !is_output(as_name) && !self.renamed.contains_key(as_name) {
            self.renamed.insert(as_name.to_owned(), name.to_owned());
        } else {
            self.nodes.push(NodeProto {
                input: vec![as_name.to_owned()],
                output: vec![name.to_owned()],
                name: name.to_owned(),
                op_type: "Identity".to_owned(),
                ..NodeProto::default()
            });
        }
    }

    fn other_node(&mut self, node: &NodeProto) -> Result<(), String> {
        if self.fold(node)? {
            return Ok(());
        }
        let quantized: Vec<_> = node.input.iter().map(|i| self.quantized.get(i)).collect();
        let Some(first) = quantized.iter().copied().flatten().next() else {
            if node.op_type == "Conv"
                && let Some(weights) = input(node, 1)
            {
                self.record_weights(weights);
            }
            self.nodes.push(node.clone());
            return Ok(());
        };
        let at = describe(node);
        let moves_values = match node.op_type.as_str() {
            "Identity" | "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
            | "MaxPool" | "Slice" | "Gather" | "Split" | "DepthToSpace" | "SpaceToDepth"
            | "Expand" | "Tile" => node.output.len() == 1 || node.op_type == "Split",
            "Concat" => {
                let mut others = quantized.iter();
                others.all(|other| other.is_some_and(|other| other.same_codes(first)))
            }
            _ => false,
        };
        let first = first.clone();
        if moves_values && !matches!(first, Quantized::Channels(_)) {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                self.quantized.insert(output.clone(), first.clone());
            }
            self.nodes.push(node.clone());
            return Ok(());
        }
        match (node.op_type.as_str(), first) {
            ("Shape" | "Size", _) => self.nodes.push(node.clone()),
            ("Clip", Quantized::Known(params, code_type)) => {
                return self.clip(node, params, code_type);
            }
            ("Concat", _) => {
                return Err(format!(
                    "{at}: it joins quantised tensors of different scales or zero points"
                ));
            }
            // Perhaps whole numbers, and not codes.
            (_, Quantized::Input(root)) => {
                self.raw_inputs.insert(root, at);
                self.nodes.push(node.clone());
            }
            (_, Quantized::Known(..) | Quantized::Channels(_)) => {
                return Err(format!(
                    "{at}: this operator is not supported for quantised values; DequantizeLinear \
                     before and QuantizeLinear after it let it run in float32"
                ));
            }
        }
        Ok(())
    }

    /// `Clip` of codes narrows the limits of what quantised them.
    fn clip(
        &mut self,
        node: &NodeProto,
        params: FakeQuantize,
        code_type: CodeType,
    ) -> Result<(), String> {
        let at = describe(node);
        let (Some(from), Some(to)) = (input(node, 0), node.output.first()) else {
            return Err(format!("{at}: it has no input or output"));
        };
        let limit = |index: usize| -> Result<Option<u8>, String> {
            let Some(name) = input(node, index) else {
                return Ok(None);
            };
            let constant = self.constant(name)?;
            let integers = constant.as_ref().and_then(|constant| constant.integers());
            let Some([limit]) = integers.as_deref() else {
                return Err(format!("{at}: its limit {name} is not one whole number"));
            };
            let code = limit.saturating_sub(i64::from(code_type.range().0));
            Ok(Some(code.clamp(0, 255) as u8))
        };
        let low = limit(1)?.unwrap_or(0).max(params.low);
        let high = limit(2)?.unwrap_or(255).min(params.high);
        let narrowed = FakeQuantize {
            low: low.min(high),
            high,
            ..params
        };
        let is_alone = self.uses.get(from) == Some(&1);
        match self.roundings.get(from) {
            Some(before) if is_alone => {
                let before = &mut self.nodes[*before];
                *before = fake_quantize_node(&before.name, &before.input[0], from, narrowed);
                self.same(to, from);
                let known = Quantized::Known(narrowed, code_type);
                self.quantized.insert(to.clone(), known);
            }
            _ => self.fake_quantize(name_of(node), from, to, (narrowed, code_type)),
        }
        Ok(())
    }

    /// Notes the scales of a convolution's weights.
    pub fn record_weights(&mut self, name: &str) {
        let Ok(Some(weights)) = self.constant(name) else {
            return;
        };
        let (Values::Float(values), [outputs, _, ..]) = (&weights.values, &weights.dims[..]) else {
            return;
        };
        let scales = weights.scales_of_outputs();
        if let Some(scales) = scales.or_else(|| grid_scales(values, *outputs)) {
            self.weight_scales.insert(values, scales);
        }
    }

    fn finish(mut self, graph: &mut GraphProto) -> Result<WeightScales, String> {
        for root in &self.dequantized_inputs {
            if let Some(other) = self.raw_inputs.get(root) {
                return Err(format!(
                    "input {root} is read as quantised values, but {other} reads it as plain numbers"
                ));
            }
        }
        let made: Vec<TensorProto> = self
            .folded
            .iter()
            .filter(|(_, (_, is_alone))| *is_alone)
            .filter_map(|(name, (constant, _))| constant.to_tensor(name))
            .collect();
        graph.initializer.extend(made);
        graph.initializer.sort_by(|a, b| a.name.cmp(&b.name));
        for node in &mut self.nodes {
            names::rename(node, &self.renamed);
        }
        graph.node = self.nodes;
        let is_input = |name: &String| self.dequantized_inputs.contains(name);
        let is_float = |name: &String| match self.quantized.get(name) {
            Some(Quantized::Known(..) | Quantized::Channels(_)) => true,
            Some(Quantized::Input(root)) => is_input(root),
            None => false,
        };
        for info in graph.input.iter_mut().chain(&mut graph.output) {
            let name = info.name.clone();
            if let Some(element) = element_type(info)
                && is_float(&name)
            {
                *element = DataType::Float as i32;
            }
        }
        graph.value_info.retain(|info| !is_float(&info.name));
        names::remove_unused(graph);
        Ok(self.weight_scales)
    }
}
