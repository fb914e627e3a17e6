//! A SOAP request by HTTP, and its answer.
//!
//! A user is proved by WS-UsernameToken in the message and, where the camera asks for that instead, by HTTP
//! digest authentication. Basic authentication, which sends the password itself, is not used.

use std::time::{Duration, Instant};

use http_auth::{DigestClient, PasswordParams};
use jiff::Timestamp;
use roxmltree::Node;
use ureq::Agent;
use url::Url;

use super::login::Login;
use super::xml::{MAX_BYTES, XmlError, below, printable, read_body, text_below};

/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest part of a stranger's text in a message.
const MAX_QUOTED: usize = 160;

/// Why there is no answer, or none of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoapError {
    #[error("{0}")]
    Connection(String),
    #[error("no answer in time")]
    Timeout,
    #[error("HTTP status {0}")]
    HttpStatus(u16),
    #[error("the camera wants a user and password: give --user")]
    NoLogin,
    #[error("the camera refuses the user or the password")]
    Refused,
    #[error("the camera reports: {0}")]
    Fault(String),
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the answer is <{0}>")]
    OtherAnswer(String),
}

impl SoapError {
    /// Whether other requests would end in the same way.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Connection(_) | Self::Timeout | Self::NoLogin | Self::Refused
        )
    }
}

/// A service's operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Namespace of the service.
    pub namespace: &'static str,
    /// Name of the operation.
    pub name: &'static str,
}

/// Talks to one camera.
pub struct SoapClient<'a> {
    agent: Agent,
    login: Option<&'a Login>,
    /// The camera's clock at an instant.
    clock: (Timestamp, Instant),
    digest: Option<DigestClient>,
    deadline: Instant,
}

impl<'a> SoapClient<'a> {
    /// Nothing is sent after `deadline`.
    pub fn new(login: Option<&'a Login>, deadline: Instant) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Cameras are in the same network.
            .proxy(None)
            .user_agent(concat!("mobilens/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: Agent::new_with_config(config.build()),
            login,
            clock: (Timestamp::now(), Instant::now()),
            digest: None,
            deadline,
        }
    }

    /// Sets the clock that tokens are made by.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.clock = (now, Instant::now());
    }

    /// Whether there are a user and password.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// What `read` makes of the answer to a request with the elements `parameters`, which are in the
    /// operation's namespace `o`.
    pub fn call<T>(
        &mut self,
        url: &Url,
        operation: Operation,
        parameters: &str,
        read: impl FnOnce(Node<'_, '_>) -> T,
    ) -> Result<T, SoapError> {
        let header = self.login.map(|login| login.security_header(&self.time()));
        self.request(url, operation, header, parameters, read)
    }

    /// The same without the user's token: for what anybody may ask.
    pub fn call_without_login<T>(
        &mut self,
        url: &Url,
        operation: Operation,
        read: impl FnOnce(Node<'_, '_>) -> T,
    ) -> Result<T, SoapError> {
        self.request(url, operation, None, "", read)
    }

    /// The time by the camera's clock.
    fn time(&self) -> String {
        let (clock, at) = self.clock;
        let now = clock.checked_add(at.elapsed()).unwrap_or(clock);
        now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    fn request<T>(
        &mut self,
        url: &Url,
        operation: Operation,
        header: Option<String>,
        parameters: &str,
        read: impl FnOnce(Node<'_, '_>) -> T,
    ) -> Result<T, SoapError> {
        let Operation { namespace, name } = operation;
        let header = header.map(|header| format!("<s:Header>{header}</s:Header>"));
        let message = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">{}\
             <s:Body><o:{name} xmlns:o=\"{namespace}\">{parameters}</o:{name}></s:Body></s:Envelope>",
            header.unwrap_or_default()
        );
        let content_type =
            format!("application/soap+xml; charset=utf-8; action=\"{namespace}/{name}\"");
        let (status, bytes) = self.post(url, &content_type, &message)?;
        if matches!(status, 401 | 403) {
            return Err(self.unauthorized());
        }
        let is_success = (200..300).contains(&status);
        let expected = format!("{name}Response");
        let answer = read_body(&bytes, |body| match body.tag_name().name() {
            "Fault" => Err(self.fault(body)),
            name if name == expected => Ok(read(body)),
            name => Err(SoapError::OtherAnswer(printable(name, MAX_QUOTED))),
        });
        match answer {
            Ok(Ok(_)) | Err(_) if !is_success => Err(SoapError::HttpStatus(status)),
            Ok(result) => result,
            Err(error) => Err(error.into()),
        }
    }

    fn unauthorized(&self) -> SoapError {
        match self.login {
            Some(_) => SoapError::Refused,
            None => SoapError::NoLogin,
        }
    }

    fn fault(&self, fault: Node<'_, '_>) -> SoapError {
        let codes = fault
            .descendants()
            .filter(|node| node.tag_name().name() == "Value");
        let is_refused = codes
            .filter_map(|code| code.text())
            .any(|code| code.contains("NotAuthorized"));
        if is_refused {
            return self.unauthorized();
        }
        // SOAP 1.2, and 1.1.
        let reason = below(fault, "Reason").and_then(|reason| text_below(reason, "Text"));
        let reason = reason.or_else(|| text_below(fault, "faultstring"));
        SoapError::Fault(printable(reason.unwrap_or("no reason"), MAX_QUOTED))
    }

    /// Status and body of the answer, after the authentication that the server asks for.
    fn post(
        &mut self,
        url: &Url,
        content_type: &str,
        message: &str,
    ) -> Result<(u16, Vec<u8>), SoapError> {
        let is_again = self.digest.is_some();
        let (status, challenges, bytes) = self.post_once(url, content_type, message)?;
        let (401, Some(_)) = (status, self.login) else {
            return Ok((status, bytes));
        };
        let Some(client) = challenges.iter().find_map(|value| digest_client(value)) else {
            return Ok((status, bytes));
        };
        if is_again && !client.stale() {
            return Ok((status, bytes));
        }
        self.digest = Some(client);
        let (status, _, bytes) = self.post_once(url, content_type, message)?;
        Ok((status, bytes))
    }

    fn post_once(
        &mut self,
        url: &Url,
        content_type: &str,
        message: &str,
    ) -> Result<(u16, Vec<String>, Vec<u8>), SoapError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SoapError::Timeout);
        }
        let mut request = self
            .agent
            .post(url.as_str())
            .config()
            .timeout_global(Some(left.min(REQUEST_TIMEOUT)))
            .build()
            .header("Content-Type", content_type);
        if let (Some(digest), Some(login)) = (&mut self.digest, self.login) {
            let query = url.query().map(|query| format!("?{query}"));
            let authorization = digest.respond(&PasswordParams {
                username: &login.user,
                password: &login.password,
                uri: &format!("{}{}", url.path(), query.unwrap_or_default()),
                method: "POST",
                body: Some(message.as_bytes()),
            });
            if let Ok(authorization) = authorization {
                request = request.header("Authorization", authorization);
            }
        }
        let answer = request.send(message.as_bytes()).map_err(of_ureq)?;
        let status = answer.status().as_u16();
        let challenges = answer.headers().get_all("WWW-Authenticate").iter();
        let challenges = challenges
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect();
        let body = answer.into_body().into_with_config();
        let bytes = body
            .limit(MAX_BYTES as u64)
            .read_to_vec()
            .map_err(of_ureq)?;
        Ok((status, challenges, bytes))
    }
}

/// The client of a digest challenge in the value of `WWW-Authenticate`.
fn digest_client(value: &str) -> Option<DigestClient> {
    let challenges = http_auth::parse_challenges(value).ok()?;
    challenges
        .iter()
        .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("digest"))
        .find_map(|challenge| DigestClient::try_from(challenge).ok())
}

fn of_ureq(error: ureq::Error) -> SoapError {
    match error {
        ureq::Error::Timeout(_) => SoapError::Timeout,
        ureq::Error::BodyExceedsLimit(_) => XmlError::TooLarge.into(),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            SoapError::Timeout
        }
        ureq::Error::Io(error) => SoapError::Connection(printable(&error.to_string(), MAX_QUOTED)),
        error => SoapError::Connection(printable(&error.to_string(), MAX_QUOTED)),
    }
}
