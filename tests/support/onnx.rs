//! Writes small ONNX files, field by field (onnx.proto), for tests of what runs them.

/// A network that is put together node by node; opset 13.
#[derive(Default)]
pub struct Onnx {
    nodes: Vec<u8>,
    initializers: Vec<u8>,
    count: usize,
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

fn value_info(name: &str, shape: &[usize]) -> Vec<u8> {
    let mut dims = Vec::new();
    for size in shape {
        let mut dim = Vec::new();
        number(&mut dim, 1, *size as u64);
        bytes(&mut dims, 1, &dim);
    }
    let (mut tensor, mut kind, mut info) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut tensor, 1, 1);
    bytes(&mut tensor, 2, &dims);
    bytes(&mut kind, 1, &tensor);
    bytes(&mut info, 1, name.as_bytes());
    bytes(&mut info, 2, &kind);
    info
}

impl Onnx {
    /// A constant; gives its name.
    pub fn constant(&mut self, shape: &[usize], values: &[f32]) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        let mut tensor = Vec::new();
        for size in shape {
            number(&mut tensor, 1, *size as u64);
        }
        number(&mut tensor, 2, 1);
        bytes(&mut tensor, 8, name.as_bytes());
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes(&mut tensor, 9, &raw);
        bytes(&mut self.initializers, 5, &tensor);
        name
    }

    /// A node with lists of whole numbers and whole numbers as attributes; gives its output's name.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        lists: &[(&str, &[usize])],
        numbers: &[(&str, usize)],
    ) -> String {
        self.count += 1;
        let name = format!("n{}", self.count);
        let mut node = Vec::new();
        for input in inputs {
            bytes(&mut node, 1, input.as_bytes());
        }
        bytes(&mut node, 2, name.as_bytes());
        bytes(&mut node, 3, name.as_bytes());
        bytes(&mut node, 4, op.as_bytes());
        for (key, list) in lists {
            let mut attribute = Vec::new();
            bytes(&mut attribute, 1, key.as_bytes());
            for value in *list {
                number(&mut attribute, 8, *value as u64);
            }
            number(&mut attribute, 20, 7);
            bytes(&mut node, 5, &attribute);
        }
        for (key, value) in numbers {
            let mut attribute = Vec::new();
            bytes(&mut attribute, 1, key.as_bytes());
            number(&mut attribute, 3, *value as u64);
            number(&mut attribute, 20, 2);
            bytes(&mut node, 5, &attribute);
        }
        bytes(&mut self.nodes, 1, &node);
        name
    }

    /// The file, with `input` of `shape` and one output.
    pub fn file(&self, shape: &[usize], output: &str, output_shape: &[usize]) -> Vec<u8> {
        let mut graph = self.nodes.clone();
        bytes(&mut graph, 2, b"test");
        graph.extend_from_slice(&self.initializers);
        bytes(&mut graph, 11, &value_info("input", shape));
        bytes(&mut graph, 12, &value_info(output, output_shape));
        let (mut opset, mut model) = (Vec::new(), Vec::new());
        number(&mut opset, 2, 13);
        number(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &opset);
        model
    }
}
