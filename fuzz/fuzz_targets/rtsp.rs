//! An RTSP session. The input is what the camera answers: one part for each request, `@` standing for the
//! number of the request (`CSeq`), and after the last one all that is left.
#![no_main]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mobilens::capture::{Captured, RtspRequest, RtspSource, Source};
use mobilens::flow::StopSignal;

const STALL: Duration = Duration::from_millis(500);

/// Answers the requests of a client with `parts`, then closes.
fn serve(client: TcpStream, input: &[u8]) -> std::io::Result<()> {
    client.set_read_timeout(Some(STALL))?;
    let mut answers = client.try_clone()?;
    let mut requests = BufReader::new(client);
    for part in mobilens_fuzz::parts(input) {
        let mut number = Vec::new();
        loop {
            let mut line = Vec::new();
            if requests.by_ref().take(4096).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.strip_prefix(b"CSeq: ") {
                number = value.trim_ascii().to_vec();
            }
            if line.trim_ascii().is_empty() {
                break;
            }
        }
        // Binary data holds the sign, too: only the first is the number's.
        let at = part.iter().position(|byte| *byte == b'@');
        let (before, after) = part.split_at(at.unwrap_or(part.len()));
        answers.write_all(&[before, &number, after.get(1..).unwrap_or_default()].concat())?;
    }
    answers.shutdown(Shutdown::Write)?;
    // Until the client has closed, too.
    std::io::copy(&mut requests, &mut std::io::sink())?;
    Ok(())
}

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    static CAMERA: OnceLock<TcpListener> = OnceLock::new();
    let camera = CAMERA.get_or_init(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = camera.local_addr().expect("its address").port();
    let url = format!("rtsp://user:password@127.0.0.1:{port}/1");
    let request = RtspRequest::new(&url, false, STALL).expect("a URL");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Ok((client, _)) = camera.accept() {
                let _ = serve(client, input);
            }
        });
        let stop = StopSignal::new();
        let Ok(mut source) = RtspSource::open(&request, &stop) else {
            return;
        };
        for _ in 0..100 {
            match source.next(&stop) {
                Ok(Captured::End) | Err(_) => break,
                Ok(_) => {}
            }
        }
    });
});
