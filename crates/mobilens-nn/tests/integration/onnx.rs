//! Writes small ONNX files, field by field (onnx.proto), for tests of what runs them.

/// Element types by their numbers in onnx.proto.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    #[default]
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Int32 = 6,
    Int64 = 7,
    Float16 = 10,
}

/// A network that is put together node by node; opset 14 if not told otherwise.
#[derive(Default)]
pub struct Onnx {
    nodes: Vec<u8>,
    initializers: Vec<u8>,
    count: usize,
    /// Of input and output.
    types: [Type; 2],
    opset: Option<u64>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn value_info(name: &str, shape: &[usize], element: Type) -> Vec<u8> {
    let mut dims = Vec::new();
    for size in shape {
        let mut dim = Vec::new();
        number(&mut dim, 1, *size as u64);
        bytes(&mut dims, 1, &dim);
    }
    let (mut tensor, mut kind, mut info) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut tensor, 1, element as u64);
    bytes(&mut tensor, 2, &dims);
    bytes(&mut kind, 1, &tensor);
    bytes(&mut info, 1, name.as_bytes());
    bytes(&mut info, 2, &kind);
    info
}

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Int(usize),
    Signed(i64),
    Ints(&'a [usize]),
    Float(f32),
    Text(&'a str),
}

impl Onnx {
    /// A network whose input and output have these types.
    pub fn with_types(types: [Type; 2]) -> Self {
        Self {
            types,
            ..Self::default()
        }
    }

    /// A network of this opset.
    pub fn of_opset(opset: u64) -> Self {
        Self {
            opset: Some(opset),
            ..Self::default()
        }
    }

    /// A list of whole numbers as a constant; gives its name.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(&[values.len()], Type::Int64, raw)
    }

    /// A constant; gives its name.
    pub fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(shape, Type::Float, raw)
    }

    /// A constant of quantised values: uint8, int8 or int32; gives its name.
    pub fn codes(&mut self, shape: &[usize], element: Type, values: &[i32]) -> String {
        let size = if element == Type::Int32 { 4 } else { 1 };
        let raw = values
            .iter()
            .flat_map(|v| v.to_le_bytes().into_iter().take(size));
        self.tensor(shape, element, raw.collect())
    }

    /// A constant of any type, from its bytes; gives its name.
    pub fn tensor(&mut self, shape: &[usize], element: Type, raw: Vec<u8>) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        let mut tensor = Vec::new();
        for size in shape {
            number(&mut tensor, 1, *size as u64);
        }
        number(&mut tensor, 2, element as u64);
        bytes(&mut tensor, 8, name.as_bytes());
        bytes(&mut tensor, 9, &raw);
        bytes(&mut self.initializers, 5, &tensor);
        name
    }

    /// A node; gives its output's name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Value<'_>)]) -> String {
        self.count += 1;
        let name = format!("n{}", self.count);
        let mut node = Vec::new();
        for input in inputs {
            bytes(&mut node, 1, input.as_bytes());
        }
        bytes(&mut node, 2, name.as_bytes());
        bytes(&mut node, 3, name.as_bytes());
        bytes(&mut node, 4, op.as_bytes());
        for (key, value) in attributes {
            let mut attribute = Vec::new();
            bytes(&mut attribute, 1, key.as_bytes());
            let kind = match value {
                Value::Int(value) => {
                    number(&mut attribute, 3, *value as u64);
                    2
                }
                Value::Signed(value) => {
                    number(&mut attribute, 3, *value as u64);
                    2
                }
                Value::Ints(values) => {
                    for value in *values {
                        number(&mut attribute, 8, *value as u64);
                    }
                    7
                }
                Value::Float(value) => {
                    varint(&mut attribute, 2 << 3 | 5);
                    attribute.extend_from_slice(&value.to_le_bytes());
                    1
                }
                Value::Text(value) => {
                    bytes(&mut attribute, 4, value.as_bytes());
                    3
                }
            };
            number(&mut attribute, 20, kind);
            bytes(&mut node, 5, &attribute);
        }
        bytes(&mut self.nodes, 1, &node);
        name
    }

    /// A node with several outputs; gives their names.
    pub fn node_with_outputs(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: &[(&str, Value<'_>)],
    ) -> Vec<String> {
        let before = self.nodes.len();
        let first = self.node(op, inputs, attributes);
        let mut names = vec![first];
        let mut more = Vec::new();
        for index in 1..outputs {
            let name = format!("{}.{index}", names[0]);
            bytes(&mut more, 2, name.as_bytes());
            names.push(name);
        }
        // The node is the last field: its length grows by the further outputs.
        let mut node = self.nodes.split_off(before);
        let skip = 1 + node[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let mut body = node.split_off(skip);
        body.extend_from_slice(&more);
        bytes(&mut self.nodes, 1, &body);
        names
    }

    /// The file, with `input` of `shape` and one output.
    pub fn file(&self, shape: &[usize], output: &str, output_shape: &[usize]) -> Vec<u8> {
        let mut graph = self.nodes.clone();
        bytes(&mut graph, 2, b"test");
        graph.extend_from_slice(&self.initializers);
        bytes(&mut graph, 11, &value_info("input", shape, self.types[0]));
        bytes(
            &mut graph,
            12,
            &value_info(output, output_shape, self.types[1]),
        );
        let (mut opset, mut model) = (Vec::new(), Vec::new());
        number(&mut opset, 2, self.opset.unwrap_or(14));
        number(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &opset);
        model
    }
}

/// Name and shape of an input or output.
#[allow(dead_code, reason = "for the tests of the program")]
pub type Named<'a> = (&'a str, Vec<usize>);

#[allow(dead_code, reason = "for the tests of the program")]
impl Onnx {
    /// Another name of a value, for instance that of an output.
    pub fn rename(&mut self, value: &str, name: &str) {
        let mut node = Vec::new();
        bytes(&mut node, 1, value.as_bytes());
        bytes(&mut node, 2, name.as_bytes());
        bytes(&mut node, 4, b"Identity");
        bytes(&mut self.nodes, 1, &node);
    }

    /// A float32 constant whose values are in the file `location`; gives its name.
    pub fn external(&mut self, shape: &[usize], location: &str) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        let (mut tensor, mut entry) = (Vec::new(), Vec::new());
        for size in shape {
            number(&mut tensor, 1, *size as u64);
        }
        number(&mut tensor, 2, Type::Float as u64);
        bytes(&mut tensor, 8, name.as_bytes());
        bytes(&mut entry, 1, b"location");
        bytes(&mut entry, 2, location.as_bytes());
        bytes(&mut tensor, 13, &entry);
        number(&mut tensor, 14, 1);
        bytes(&mut self.initializers, 5, &tensor);
        name
    }

    /// The file, with any number of float32 inputs and outputs, and metadata.
    pub fn file_with(
        &self,
        inputs: &[Named<'_>],
        outputs: &[Named<'_>],
        metadata: &[(&str, &str)],
    ) -> Vec<u8> {
        let mut graph = self.nodes.clone();
        bytes(&mut graph, 2, b"test");
        graph.extend_from_slice(&self.initializers);
        for (field, values) in [(11, inputs), (12, outputs)] {
            for (name, shape) in values {
                bytes(&mut graph, field, &value_info(name, shape, Type::Float));
            }
        }
        let (mut opset, mut model) = (Vec::new(), Vec::new());
        number(&mut opset, 2, 14);
        number(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &opset);
        for (key, value) in metadata {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, key.as_bytes());
            bytes(&mut entry, 2, value.as_bytes());
            bytes(&mut model, 14, &entry);
        }
        model
    }
}
