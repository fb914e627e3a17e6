//! Packets that are lost and overtake each other.

use std::process::{Command, Stdio};

use super::camera::{Camera, Player};
use super::{clip, end, is_frame, next, start, watch};
use crate::support::mobilens;

/// The program in a network namespace, whose line to here loses, delays and reorders packets; removed when
/// it is dropped.
struct Namespace {
    name: String,
    /// This end's address.
    address: String,
}

fn ip(arguments: &str) -> bool {
    succeeds("ip", arguments)
}

fn succeeds(program: &str, arguments: &str) -> bool {
    let status = Command::new(program)
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

impl Namespace {
    /// `None` where that needs root, `ip`, `tc` or a kernel with `netem` that is not there.
    fn lossy() -> Option<Self> {
        let number = std::process::id() % 250 + 1;
        let namespace = Self {
            name: format!("mlens{number}"),
            address: format!("10.213.{number}.1"),
        };
        let (name, address) = (&namespace.name, &namespace.address);
        let netem = "netem loss 3% delay 20ms 10ms reorder 25% 50%";
        let is_made = ip(&format!("netns add {name}"))
            && ip(&format!(
                "link add {name} type veth peer name there netns {name}"
            ))
            && ip(&format!("addr add {address}/30 dev {name}"))
            && ip(&format!("link set {name} up"))
            && ip(&format!(
                "-n {name} addr add 10.213.{number}.2/30 dev there"
            ))
            && ip(&format!("-n {name} link set there up"))
            && succeeds("tc", &format!("qdisc add dev {name} root {netem}"));
        is_made.then_some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the line goes with the other.
        ip(&format!("link del {}", self.name));
        ip(&format!("netns del {}", self.name));
    }
}

/// Every frame's packets out of order, and some of them missing.
fn shuffled(player: &mut Player) -> std::io::Result<()> {
    let mut random = 1_u32;
    let mut next = move |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    let mut held: Option<Vec<u8>> = None;
    loop {
        for number in 0..50 {
            for packet in player.packets(number, true) {
                if next(20) == 0 {
                    continue;
                }
                if held.is_none() && next(6) == 0 {
                    held = Some(packet);
                    continue;
                }
                player.send_packet(&packet)?;
                if next(2) == 0
                    && let Some(late) = held.take()
                {
                    player.send_packet(&late)?;
                }
            }
            player.wait()?;
        }
    }
}

fn frames_come(
    name: &str,
    child: crate::support::Process,
    lines: &std::sync::mpsc::Receiver<String>,
) {
    let mut last = -1.0;
    for _ in 0..60 {
        let frame = next(lines, name, is_frame);
        let at = frame["pts_ms"].as_f64().expect("a number");
        assert!(at > last, "{name}: {at} after {last}");
        last = at;
    }
    // The sum of what was captured is checked there.
    end(&super::interrupt(child, lines));
}

#[test]
fn lost_and_reordered_packets_do_not_end_a_stream() {
    let clip = clip();
    let camera = Camera::start(None, &clip, true, shuffled);
    let (child, lines) = watch(&camera.url(), ", transport: udp", &[]);
    frames_come("lost and reordered by the camera", child, &lines);
    // The kernel does it, where it can: with what TCP makes of that, too.
    let Some(namespace) = Namespace::lossy() else {
        eprintln!("the kernel has no netem here, or this is not root: its part is left out");
        return;
    };
    let camera = Camera::good(None, &clip);
    for transport in ["udp", "tcp"] {
        let url = format!("rtsp://{}:{}/cam", namespace.address, camera.port);
        let source = format!("source={{rtsp: {{url: \"{url}\", transport: {transport}}}}}");
        let program = mobilens();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &namespace.name])
            .arg(program.get_program())
            .args([super::TINY, "--headless", "--set", &source])
            .current_dir(crate::support::root());
        let (child, lines) = start(&mut command);
        frames_come(transport, child, &lines);
    }
}
