//! A network camera of the tests' own: answers probes by UDP and SOAP requests by HTTP, on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path of the URL.
    pub path: String,
    /// The whole head.
    pub head: String,
    /// The message.
    pub body: String,
}

impl Request {
    /// Name of the operation: the first element of the body, without its prefix.
    pub fn operation(&self) -> &str {
        let body = self
            .body
            .split_once("<s:Body><o:")
            .map_or("", |(_, rest)| rest);
        body.split([' ', '>', '/']).next().unwrap_or_default()
    }

    /// The text of an element, whose name has its prefix.
    pub fn text(&self, element: &str) -> Option<&str> {
        let mut tags = [' ', '>'].into_iter();
        let (tag, rest) = tags.find_map(|end| {
            let (_, rest) = self.body.split_once(&format!("<{element}{end}"))?;
            Some((end, rest))
        })?;
        let rest = if tag == '>' {
            rest
        } else {
            rest.split_once('>')?.1
        };
        Some(rest.split_once("</")?.0)
    }
}

/// What a camera says to a request: the bytes on the wire.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing while the client waits.
    Hold(Vec<u8>),
    /// These bytes, and then a space every now and then, without end.
    Drip(Vec<u8>),
    /// These bytes, and then this one as often as the client takes it.
    Flood(Vec<u8>, u8),
}

/// A reply by HTTP.
pub fn http(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
            .into_bytes(),
    )
}

/// A SOAP message as a reply.
pub fn soap(body: &str) -> Reply {
    http(
        "200 OK",
        "Content-Type: application/soap+xml\r\n",
        &envelope(body),
    )
}

/// A SOAP message.
pub fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\">\
         <env:Header/><env:Body>{body}</env:Body></env:Envelope>"
    )
}

/// The fault of a camera that wants a user, or another one.
pub fn not_authorized() -> Reply {
    let fault = "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode>\
                 <env:Value>ter:NotAuthorized</env:Value></env:Subcode></env:Code>\
                 <env:Reason><env:Text>Sender not authorized</env:Text></env:Reason></env:Fault>";
    http("400 Bad Request", "", &envelope(fault))
}

/// What a camera of two profiles, on Media alone, answers; `host` is the host and port of its streams.
pub fn well(request: &Request, host: &str) -> Reply {
    let response = match request.operation() {
        "GetSystemDateAndTime" => {
            "<GetSystemDateAndTimeResponse><SystemDateAndTime><UTCDateTime>\
             <Time><Hour>12</Hour><Minute>30</Minute><Second>0</Second></Time>\
             <Date><Year>2019</Year><Month>7</Month><Day>1</Day></Date>\
             </UTCDateTime></SystemDateAndTime></GetSystemDateAndTimeResponse>"
        }
        "GetServices" => {
            "<GetServicesResponse><Service><Namespace>http://www.onvif.org/ver10/device/wsdl</Namespace>\
             <XAddr>http://192.0.2.99/onvif/device_service</XAddr></Service>\
             <Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace>\
             <XAddr>http://192.0.2.99/onvif/media</XAddr></Service></GetServicesResponse>"
        }
        "GetDeviceInformation" => {
            "<GetDeviceInformationResponse><Manufacturer>ACME</Manufacturer><Model>X\u{a0}1</Model>\
             </GetDeviceInformationResponse>"
        }
        "GetProfiles" => {
            "<GetProfilesResponse><Profiles token=\"main&amp;1\" fixed=\"true\"><Name>Main</Name>\
             <VideoEncoderConfiguration token=\"e\"><Encoding>H264</Encoding>\
             <Resolution><Width>1920</Width><Height>1080</Height></Resolution>\
             <RateControl><FrameRateLimit>25</FrameRateLimit></RateControl></VideoEncoderConfiguration></Profiles>\
             <Profiles token=\"sub\"><Name>Sub</Name><VideoEncoderConfiguration><Encoding>JPEG</Encoding>\
             <Resolution><Width>640</Width><Height>360</Height></Resolution></VideoEncoderConfiguration>\
             </Profiles></GetProfilesResponse>"
        }
        "GetStreamUri" => {
            let path = match request.text("o:ProfileToken") {
                Some("main&amp;1") => "main",
                _ => "sub",
            };
            return soap(&format!(
                "<GetStreamUriResponse><MediaUri><Uri>rtsp://admin:secret@{host}/{path}?a=1&amp;b=2</Uri></MediaUri>\
                 </GetStreamUriResponse>"
            ));
        }
        _ => return http("400 Bad Request", "", &envelope("<env:Fault/>")),
    };
    soap(response)
}

/// The answer to a probe of a camera with this name and these addresses.
pub fn probe_match(name: &str, addresses: &str) -> Vec<u8> {
    let body = format!(
        "<d:ProbeMatches xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"><d:ProbeMatch>\
         <d:Types>dn:NetworkVideoTransmitter</d:Types>\
         <d:Scopes>onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/{name}</d:Scopes>\
         <d:XAddrs>{addresses}</d:XAddrs></d:ProbeMatch></d:ProbeMatches>"
    );
    envelope(&body).into_bytes()
}

/// Serves HTTP until the test ends; gives the address, and the requests as they come.
pub fn serve(
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (sender, requests) = channel();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (answer, sender) = (Arc::clone(&answer), sender.clone());
            std::thread::spawn(move || {
                let Some(request) = read(&socket) else { return };
                let _ = sender.send(request.clone());
                let _ = write(socket, answer(&request));
            });
        }
    });
    (address, requests)
}

/// Answers each probe with these datagrams; gives the address.
pub fn discover(socket: UdpSocket, datagrams: Vec<Vec<u8>>) -> SocketAddr {
    let address = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut probe = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut probe) {
            let text = String::from_utf8_lossy(&probe[..length]).into_owned();
            if text.contains(":Probe>") && text.contains("NetworkVideoTransmitter") {
                for datagram in &datagrams {
                    let _ = socket.send_to(datagram, from);
                }
            }
        }
    });
    address
}

/// A socket for [`discover`] on loopback.
pub fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")
}

fn read(socket: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(socket);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        path: head.split(' ').nth(1)?.to_owned(),
        head,
        body: String::from_utf8(body).ok()?,
    })
}

fn write(mut socket: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => socket.write_all(&bytes),
        Reply::Hold(bytes) => {
            socket.write_all(&bytes)?;
            // Until the client goes.
            socket.read_to_end(&mut Vec::new()).map(|_| ())
        }
        Reply::Drip(bytes) => {
            socket.write_all(&bytes)?;
            loop {
                std::thread::sleep(std::time::Duration::from_millis(200));
                socket.write_all(b" ")?;
            }
        }
        Reply::Flood(bytes, byte) => {
            socket.write_all(&bytes)?;
            loop {
                socket.write_all(&[byte; 65_536])?;
            }
        }
    }
}
