//! Class pruning changes no score of the classes that are kept.

use std::path::Path;

use mobilens_nn::{KeptClasses, LoadOptions, Network};

#[test]
fn kept_classes_score_as_in_the_unpruned_network() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("models/ssdlite_mobilenet_v2_coco.onnx");
    let classes = vec![0, 1, 3, 90];
    let keep = Some(KeptClasses {
        output: "scores".to_owned(),
        classes: classes.clone(),
    });
    let whole = Network::load(&path, &LoadOptions::default()).expect("it loads");
    let options = LoadOptions {
        keep,
        ..LoadOptions::default()
    };
    let pruned = Network::load(&path, &options).expect("it loads");
    let left = pruned.pruned_classes().expect("classes were pruned");
    assert_eq!((&left.classes, left.of), (&classes, 91));
    assert_eq!(pruned.outputs()[1].shape, [1, 1917, 4]);
    let input: Vec<f32> = (0..whole.input().len())
        .map(|i| (i % 300) as f32 / 150.0 - (i / 301 % 7) as f32 * 0.2 - 0.3)
        .collect();
    let run = |network: &Network| {
        let mut session = network.session(1).expect("a session");
        session.set_input(&input);
        session.run().expect("it runs");
        session
    };
    let (whole, pruned) = (run(&whole), run(&pruned));
    assert_eq!(whole.output(0), pruned.output(0));
    let rows = whole.output(1).chunks(91).zip(pruned.output(1).chunks(4));
    for (all, kept) in rows {
        let wanted: Vec<f32> = classes.iter().map(|class| all[*class]).collect();
        assert_eq!(wanted, kept, "bit by bit");
    }
}
