//! Names of tensors: which are used, what they become, and what is not needed any more.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

/// Calls `f` for the name of every tensor that the node reads, in its subgraphs too.
fn for_each_input<'a>(node: &'a NodeProto, f: &mut impl FnMut(&'a str)) {
    for input in &node.input {
        f(input);
    }
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            graph.node.iter().for_each(|node| for_each_input(node, f));
            graph.output.iter().for_each(|output| f(&output.name));
        }
    }
}

/// Each tensor is written once, as ONNX demands; what renames them relies on it.
pub(super) fn check_single_assignment(graph: &GraphProto) -> Result<(), String> {
    let mut written: HashSet<&str> = HashSet::new();
    // An initializer may be the default value of an input.
    written.extend(graph.input.iter().map(|input| input.name.as_str()));
    written.extend(graph.initializer.iter().map(|t| t.name.as_str()));
    let outputs = graph.node.iter().flat_map(|node| &node.output);
    for name in outputs.filter(|name| !name.is_empty()) {
        if !written.insert(name) {
            return Err(format!("tensor {name} is written twice"));
        }
    }
    Ok(())
}

/// How often each tensor is read, the graph's outputs included.
pub(super) fn count_uses(graph: &GraphProto) -> HashMap<&str, usize> {
    let mut uses = HashMap::new();
    for node in &graph.node {
        for_each_input(node, &mut |name| *uses.entry(name).or_default() += 1);
    }
    for output in &graph.output {
        *uses.entry(output.name.as_str()).or_default() += 1;
    }
    uses
}

/// Gives the tensors that the node reads and writes their new names.
pub(super) fn rename(node: &mut NodeProto, renamed: &HashMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    let new_name = |name: &mut String| {
        // A chain ends at a tensor that keeps its name.
        while let Some(new) = renamed.get(name) {
            name.clone_from(new);
        }
    };
    node.input.iter_mut().for_each(new_name);
    node.output.iter_mut().for_each(new_name);
    for attribute in &mut node.attribute {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for node in &mut graph.node {
                rename(node, renamed);
            }
            for output in &mut graph.output {
                new_name(&mut output.name);
            }
        }
    }
}

/// Dead code elimination: removes nodes and initializers that nobody reads, and the inputs that
/// such initializers were the default values of.
pub(super) fn remove_unused(graph: &mut GraphProto) {
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            producers.insert(output.as_str(), index);
        }
    }
    let mut used: HashSet<&str> = HashSet::new();
    let mut live = vec![false; graph.node.len()];
    let mut open: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = open.pop() {
        if !used.insert(name) {
            continue;
        }
        if let Some(index) = producers.get(name)
            && !std::mem::replace(&mut live[*index], true)
        {
            for_each_input(&graph.node[*index], &mut |input| open.push(input));
        }
    }
    let unused: HashSet<String> = graph
        .initializer
        .iter()
        .filter(|tensor| !used.contains(tensor.name.as_str()))
        .map(|tensor| tensor.name.clone())
        .collect();
    let mut live = live.into_iter();
    graph.node.retain(|_| live.next().unwrap_or(true));
    graph.initializer.retain(|t| !unused.contains(&t.name));
    graph.input.retain(|input| !unused.contains(&input.name));
}
