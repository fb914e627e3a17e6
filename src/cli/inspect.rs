//! `mobilens inspect`: a model's layers, what runs where, and what it costs.

use std::collections::BTreeMap;
use std::path::Path;

use mobilens_nn::{LoadOptions, Network};

use super::{DONE, USAGE, data_dir, print, print_error};

/// Prints a line for each layer and the sums of each kind.
pub fn inspect(path: &Path) -> u8 {
    let path = match data_dir::find(path) {
        Ok(path) => path,
        Err(fault) => {
            print_error(&fault.to_string());
            return USAGE;
        }
    };
    let network = match Network::load(&path, &LoadOptions::default()) {
        Ok(network) => network,
        Err(error) => {
            print_error(&error.to_string());
            return USAGE;
        }
    };
    let mut sums: BTreeMap<(String, String), (usize, u64, u64)> = BTreeMap::new();
    print(&format!(
        "{:<14} {:<10} {:>20} {:>9} {:>10}  {}",
        "operator", "runs on", "output", "MMAC", "parameters", "node"
    ));
    for layer in network.layers() {
        print(&format!(
            "{:<14} {:<10} {:>20} {:>9.2} {:>10}  {}",
            layer.op,
            layer.runs_on,
            format!("{:?}", layer.output_shape),
            layer.macs as f64 / 1e6,
            layer.parameters,
            layer.name
        ));
        let sum = sums
            .entry((layer.op.to_string(), layer.runs_on.to_string()))
            .or_default();
        sum.0 += 1;
        sum.1 += layer.macs;
        sum.2 += layer.parameters;
    }
    print("");
    for ((op, runs_on), (count, macs, parameters)) in sums {
        print(&format!(
            "{count:>4} {op:<14} on {runs_on:<10} {:>9.2} MMAC {parameters:>10} parameters",
            macs as f64 / 1e6
        ));
    }
    DONE
}
