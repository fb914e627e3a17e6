//! A network camera that does what a script says: RTSP, with H.264 over TCP or UDP.

use std::io::{BufRead, BufReader, ErrorKind, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mobilens_image::{Image, PixelFormat, Planar, SizePx, YuvColour};
use mobilens_video::h264::VideoEncoder;

use crate::support::free_port;

/// Between two frames.
pub const STEP: Duration = Duration::from_millis(40);
/// Ticks of the RTP clock between two frames.
const STEP_TICKS: u32 = 90_000 / 25;
/// Largest part of a frame in a packet.
const PART: usize = 1200;

/// A coded clip.
pub struct Clip {
    sps: Vec<u8>,
    pps: Vec<u8>,
    /// NAL units of each frame; the first is a keyframe.
    frames: Vec<Vec<Vec<u8>>>,
}

impl Clip {
    /// Stripes that move; a keyframe each second.
    pub fn moving(width: u32, height: u32, frames: u32) -> Self {
        Self::new([width, height], frames, 40_000, |number| number % 8)
    }

    /// Stripes that stand still, with one keyframe: small frames that take their time to decode.
    pub fn still(width: u32, height: u32, frames: u32) -> Self {
        Self::new([width, height], frames, 0, |_| 0)
    }

    fn new(
        [width, height]: [u32; 2],
        frames: u32,
        step_us: i64,
        shift: impl Fn(u32) -> u32,
    ) -> Self {
        let mut encoder = VideoEncoder::new(30);
        let mut clip = Self {
            sps: Vec::new(),
            pps: Vec::new(),
            frames: Vec::new(),
        };
        let mut planar = Planar::default();
        for number in 0..frames {
            let luma = (0..width * height).map(|at| {
                let (x, y) = (at % width, at / width);
                (((x + y) / 8 + shift(number)) % 8 * 30) as u8
            });
            let chroma = std::iter::repeat_n(128, (width * height / 2) as usize);
            let bytes: Vec<u8> = luma.chain(chroma).collect();
            let size = SizePx { width, height };
            let image = Image::new(size, PixelFormat::I420, YuvColour::DEFAULT, bytes);
            planar.take_image(&image.expect("a picture"));
            let coded = encoder.encode(&planar, i64::from(number) * step_us);
            let (parameters, frame) = coded.expect("it can be encoded");
            (clip.sps, clip.pps) = (parameters.sps, parameters.pps);
            clip.frames.push(nal_units(&frame.data));
        }
        clip
    }

    fn sdp(&self) -> String {
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\n\
             m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\n\
             a=fmtp:96 packetization-mode=1;sprop-parameter-sets={},{}\r\na=control:trackID=0\r\n",
            base64(&self.sps),
            base64(&self.pps)
        )
    }
}

fn nal_units(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        all.push(nal.to_vec());
        data = rest;
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= three.len() { digit } else { '=' });
        }
    }
    text
}

/// What a camera does from PLAY on; it closes the connection afterwards.
type Script = dyn Fn(&mut Player) -> Result<()> + Send + Sync;

/// A camera that listens, until it is dropped.
pub struct Camera {
    /// Where it listens.
    pub port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    is_ended: AtomicBool,
    connections: AtomicU32,
    sockets: Mutex<Vec<TcpStream>>,
    clip: Arc<Clip>,
    has_sprop: bool,
    script: Box<Script>,
}

/// Listens on a port where another camera may have listened before: a process that another test is just starting
/// holds that one's socket until it has replaced itself by its program.
fn listen_on(port: u16) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(("0.0.0.0", port)) {
            Ok(listener) => return listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("port {port}: {error}"),
        }
    }
}

impl Camera {
    /// One that plays `clip` as `script` says. Without `has_sprop` its description has no parameter sets.
    pub fn start(
        port: Option<u16>,
        clip: &Arc<Clip>,
        has_sprop: bool,
        script: impl Fn(&mut Player) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let port = port.unwrap_or_else(free_port);
        let listener = listen_on(port);
        listener.set_nonblocking(true).expect("a socket");
        let state = Arc::new(State {
            is_ended: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            sockets: Mutex::default(),
            clip: Arc::clone(clip),
            has_sprop,
            script: Box::new(script),
        });
        let of_thread = Arc::clone(&state);
        let thread = std::thread::spawn(move || listen(&listener, &of_thread));
        Self {
            port,
            state,
            thread: Some(thread),
        }
    }

    /// One that plays `clip` again and again.
    pub fn good(port: Option<u16>, clip: &Arc<Clip>) -> Self {
        Self::start(port, clip, true, |player| player.play_for_ever())
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/cam", self.port)
    }

    /// How often somebody connected.
    pub fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.state.is_ended.store(true, Ordering::SeqCst);
        for socket in self.state.sockets.lock().expect("no panic").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(listener: &TcpListener, state: &Arc<State>) {
    let mut sessions = Vec::new();
    while !state.is_ended.load(Ordering::SeqCst) {
        let Ok((socket, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        socket.set_nonblocking(false).expect("a socket");
        let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let kept = socket.try_clone().expect("a socket");
        state.sockets.lock().expect("no panic").push(kept);
        let state = Arc::clone(state);
        sessions.push(std::thread::spawn(move || {
            let _ = serve(&socket, number, &state);
            let _ = socket.shutdown(Shutdown::Both);
        }));
    }
    for socket in state.sockets.lock().expect("no panic").drain(..) {
        let _ = socket.shutdown(Shutdown::Both);
    }
    for session in sessions {
        let _ = session.join();
    }
}

/// Answers requests up to PLAY, and plays.
fn serve(socket: &TcpStream, number: u32, state: &Arc<State>) -> Result<()> {
    let mut requests = BufReader::new(socket.try_clone()?);
    let mut udp = None;
    loop {
        let request = read_request(&mut requests)?;
        let answer = answer(&request, socket, state, &mut udp)?;
        (&*socket).write_all(answer.as_bytes())?;
        if request.starts_with("PLAY") {
            break;
        }
    }
    let mut player = Player {
        number,
        socket: Arc::new(Mutex::new(socket.try_clone()?)),
        udp,
        sequence: 0,
        ticks: 0,
        state: Arc::clone(state),
    };
    // Keepalives, while it plays.
    let (shared, of_thread) = (Arc::clone(&player.socket), Arc::clone(state));
    let other = socket.try_clone()?;
    std::thread::spawn(move || {
        while let Ok(request) = read_request(&mut requests) {
            let Ok(answer) = answer(&request, &other, &of_thread, &mut None) else {
                break;
            };
            let mut socket = shared.lock().expect("no panic");
            if socket.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
    });
    (state.script)(&mut player)
}

fn read_request(from: &mut impl BufRead) -> Result<String> {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if from.read_line(&mut request)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(request)
}

fn answer(
    request: &str,
    socket: &TcpStream,
    state: &State,
    udp: &mut Option<(UdpSocket, SocketAddr)>,
) -> Result<String> {
    let header = |name: &str| {
        let mut lines = request.lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap_or("")
    };
    let url = request.split(' ').nth(1).unwrap_or_default();
    let mut more = String::new();
    let mut body = String::new();
    if request.starts_with("DESCRIBE") {
        body = state.clip.sdp();
        if !state.has_sprop {
            let at = body.find(";sprop-parameter-sets").expect("it is there");
            let end = body[at..].find('\r').expect("a line ends");
            body.replace_range(at..at + end, "");
        }
        more = format!("Content-Type: application/sdp\r\nContent-Base: {url}/\r\n");
    } else if request.starts_with("SETUP") {
        let transport = header("Transport: ");
        more = if let Some((_, ports)) = transport.split_once("client_port=") {
            let digits = ports.split(['-', ';']).next().unwrap_or_default();
            let mut client = socket.peer_addr()?;
            client.set_port(digits.parse().expect("a port"));
            let sender = UdpSocket::bind((socket.local_addr()?.ip(), 0))?;
            let from = sender.local_addr()?.port();
            let reports = from.saturating_add(1);
            *udp = Some((sender, client));
            format!(
                "Transport: RTP/AVP/UDP;unicast;client_port={ports};server_port={from}-{reports}\r\n"
            )
        } else {
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".to_owned()
        };
        more += "Session: 1;timeout=60\r\n";
    } else if request.starts_with("PLAY") {
        more = format!(
            "Session: 1\r\nRange: npt=now-\r\nRTP-Info: url={url}/trackID=0;seq=0;rtptime=0\r\n"
        );
    } else if request.starts_with("OPTIONS") {
        more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".to_owned();
    }
    let cseq = header("CSeq: ");
    let length = body.len();
    Ok(format!(
        "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// One connection of a camera that plays.
pub struct Player {
    /// Number of the connection, from 1.
    pub number: u32,
    socket: Arc<Mutex<TcpStream>>,
    udp: Option<(UdpSocket, SocketAddr)>,
    sequence: u16,
    ticks: u32,
    state: Arc<State>,
}

impl Player {
    /// Plays the clip again and again, in real time.
    pub fn play_for_ever(&mut self) -> Result<()> {
        loop {
            self.play(self.state.clip.frames.len(), true)?;
        }
    }

    /// Plays the first `frames` frames of the clip, in real time.
    pub fn play(&mut self, frames: usize, has_parameters: bool) -> Result<()> {
        for number in 0..frames {
            self.send(number, has_parameters)?;
            self.wait()?;
        }
        Ok(())
    }

    /// Sends a frame of the clip; a keyframe with the parameter sets before it, if wanted.
    pub fn send(&mut self, number: usize, has_parameters: bool) -> Result<()> {
        for packet in self.packets(number, has_parameters) {
            self.send_packet(&packet)?;
        }
        Ok(())
    }

    /// The RTP packets of the next frame, which is `number` of the clip.
    pub fn packets(&mut self, number: usize, has_parameters: bool) -> Vec<Vec<u8>> {
        let clip = Arc::clone(&self.state.clip);
        let nals = &clip.frames[number];
        let is_key = nals.iter().any(|nal| nal[0] & 31 == 5);
        let mut parts = Vec::new();
        if is_key && has_parameters {
            parts.push(clip.sps.clone());
            parts.push(clip.pps.clone());
        }
        for nal in nals {
            if nal.len() <= PART {
                parts.push(nal.clone());
                continue;
            }
            // Fragmentation units (RFC 6184, section 5.8).
            let count = nal[1..].chunks(PART).count();
            for (i, part) in nal[1..].chunks(PART).enumerate() {
                let start = u8::from(i == 0) << 7;
                let end = u8::from(i + 1 == count) << 6;
                let head = [nal[0] & 0xe0 | 28, start | end | nal[0] & 31];
                parts.push([&head, part].concat());
            }
        }
        let last = parts.len() - 1;
        let packets = parts.iter().enumerate().map(|(i, part)| {
            let mut packet = vec![0x80, u8::from(i == last) << 7 | 96];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.ticks.to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            packet.extend(part);
            self.sequence = self.sequence.wrapping_add(1);
            packet
        });
        let packets = packets.collect();
        self.ticks = self.ticks.wrapping_add(STEP_TICKS);
        packets
    }

    /// Sends an RTP packet.
    pub fn send_packet(&mut self, packet: &[u8]) -> Result<()> {
        match &self.udp {
            Some((socket, client)) => socket.send_to(packet, client).map(drop),
            None => self.interleave(0, packet),
        }
    }

    /// Sends bytes on a channel of the connection.
    pub fn interleave(&self, channel: u8, bytes: &[u8]) -> Result<()> {
        let [high, low] = u16::try_from(bytes.len()).expect("short").to_be_bytes();
        let message = [&[b'$', channel, high, low], bytes].concat();
        self.socket.lock().expect("no panic").write_all(&message)
    }

    /// Waits for the time of the next frame; an error once the camera has ended.
    pub fn wait(&self) -> Result<()> {
        std::thread::sleep(STEP);
        if self.state.is_ended.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        // Nobody may be there any more, which writing to UDP does not show.
        self.socket.lock().expect("no panic").take_error()?;
        Ok(())
    }

    /// Does nothing more, and keeps the connection.
    pub fn be_silent(&self) -> Result<()> {
        loop {
            self.wait()?;
        }
    }
}
