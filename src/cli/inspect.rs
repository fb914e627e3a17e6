//! `mobilens inspect`: a model's layers, what runs where, and what it costs.

use std::collections::BTreeMap;

use mobilens::config::PrecisionConfig;
use mobilens_nn::{LoadOptions, Network, TensorInfo};
use serde_json::{Value, json};

use super::arguments::InspectArgs;
use super::{DONE, USAGE, data_dir, print, print_error};

/// Number of layers, and what they cost together.
#[derive(Clone, Copy, Default)]
struct Cost {
    layers: usize,
    macs: u64,
    parameters: u64,
}

impl Cost {
    fn add(&mut self, macs: u64, parameters: u64) {
        self.layers += 1;
        self.macs += macs;
        self.parameters += parameters;
    }
}

/// Prints a line for each layer, the sums of each kind, and those of each number format.
pub fn inspect(arguments: &InspectArgs) -> u8 {
    let path = match data_dir::find(&arguments.model) {
        Ok(path) => path,
        Err(fault) => {
            print_error(&fault.to_string());
            return USAGE;
        }
    };
    let options = LoadOptions {
        kernels: arguments.kernels.into(),
        precision: PrecisionConfig::from(arguments.precision.unwrap_or_default()).into(),
        shape: arguments.shape.as_ref().map(|shape| shape.0.clone()),
        replace_shape: true,
        ..LoadOptions::default()
    };
    match Network::load(&path, &options) {
        Ok(network) => {
            if arguments.json {
                print(&layers_json(&network).to_string());
            } else {
                print_layers(&network);
            }
            DONE
        }
        Err(error) => {
            print_error(&error.to_string());
            USAGE
        }
    }
}

fn print_layers(network: &Network) {
    let mut of_kind: BTreeMap<(&str, &str, &str), Cost> = BTreeMap::new();
    let mut of_precision: BTreeMap<(&str, &str), Cost> = BTreeMap::new();
    print(&format!(
        "{:<14} {:<9} {:<10} {:>20} {:>9} {:>10}  {}",
        "operator", "precision", "runs on", "output", "MMAC", "parameters", "node"
    ));
    for layer in network.layers() {
        print(&format!(
            "{:<14} {:<9} {:<10} {:>20} {:>9.2} {:>10}  {}",
            layer.op,
            layer.precision,
            layer.runs_on,
            format!("{:?}", layer.output_shape),
            layer.macs as f64 / 1e6,
            layer.parameters,
            layer.name
        ));
        let (precision, runs_on) = (layer.precision, layer.runs_on);
        let kind = of_kind.entry((&layer.op, precision, runs_on));
        kind.or_default().add(layer.macs, layer.parameters);
        let of_both = of_precision.entry((precision, runs_on)).or_default();
        of_both.add(layer.macs, layer.parameters);
    }
    print("");
    for ((op, precision, runs_on), cost) in of_kind {
        print_cost(&format!("{op:<14} {precision:<4}"), runs_on, cost);
    }
    print("");
    for ((precision, runs_on), cost) in of_precision {
        print_cost(&format!("{:<14} {precision:<4}", "all"), runs_on, cost);
    }
}

/// What [`print_layers`] prints: the input, the outputs, each layer, and the sums by what runs them.
fn layers_json(network: &Network) -> Value {
    let tensor = |info: &TensorInfo| json!({ "name": info.name, "shape": info.shape });
    let mut totals: BTreeMap<(&str, &str), Cost> = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in network.layers() {
        let total = totals.entry((layer.precision, layer.runs_on)).or_default();
        total.add(layer.macs, layer.parameters);
        layers.push(json!({
            "name": layer.name,
            "operator": layer.op,
            "precision": layer.precision,
            "runs_on": layer.runs_on,
            "step": layer.step,
            "output_shape": layer.output_shape,
            "macs": layer.macs,
            "parameters": layer.parameters,
        }));
    }
    let totals = totals.iter().map(|((precision, runs_on), cost)| {
        json!({
            "precision": precision,
            "runs_on": runs_on,
            "layers": cost.layers,
            "macs": cost.macs,
            "parameters": cost.parameters,
        })
    });
    json!({
        "input": tensor(network.input()),
        "outputs": network.outputs().iter().map(tensor).collect::<Vec<_>>(),
        "totals": totals.collect::<Vec<_>>(),
        "layers": layers,
    })
}

fn print_cost(what: &str, runs_on: &str, cost: Cost) {
    let Cost {
        layers,
        macs,
        parameters,
    } = cost;
    print(&format!(
        "{layers:>4} {what} on {runs_on:<10} {:>9.2} MMAC {parameters:>10} parameters",
        macs as f64 / 1e6
    ));
}
