//! What every request has to pass: the host it is for, where it comes from, and who sent it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::access::{COOKIE, Credentials};
use super::address::PeerAddress;
use super::failures::Attempt;
use super::hosts::is_same_origin;
use super::sessions;
use super::views::ServerState;

const LOGIN: &str = include_str!("login.html");
/// A request is answered, or its answer begun, within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Scripts, styles and pictures come from this server alone; the page is in no frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// Sets security headers on every response.
pub async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: the login form would then be sent with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Middleware: the host must be one that is allowed, and what changes anything must come from the page
/// itself. What takes too long, for instance a form that is sent byte by byte, is given up.
pub async fn check_request(
    State(state): State<Arc<ServerState>>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(host) = state.access.hosts.check(request.uri(), request.headers()) {
        let host: String = host.chars().take(100).collect();
        if state.counters.host_refused() {
            tracing::warn!(
                %address,
                "request refused: host {host:?} is not among the web sink's `hosts`"
            );
        }
        let why = format!("host {host:?} is not allowed: add it to `hosts` of the web sink\n");
        return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if !is_read && !is_same_origin(request.headers()) {
        if state.counters.origin_refused() {
            tracing::warn!(%address, "request refused: it comes from a page of another origin");
        }
        return (StatusCode::FORBIDDEN, "a request of another origin\n").into_response();
    }
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "too slow\n").into_response())
}

/// Middleware: requires the token or a session; browsers without either are redirected to the login page.
pub async fn require_token(
    State(state): State<Arc<ServerState>>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    request: Request,
    next: Next,
) -> Response {
    match state.access.credentials(request.headers(), address) {
        Credentials::Admitted => next.run(request).await,
        Credentials::Token(attempt) => {
            note(&state, address, attempt);
            match attempt {
                Attempt::TooEarly { wait } => too_many(wait, "too many failed attempts\n"),
                Attempt::Wrong { .. } | Attempt::Admitted => unauthorized(),
            }
        }
        Credentials::Missing => {
            let accept = request.headers().get(header::ACCEPT);
            let accept = accept.and_then(|value| value.to_str().ok());
            if accept.is_some_and(|accept| accept.contains("text/html")) {
                Redirect::to("/login").into_response()
            } else {
                unauthorized()
            }
        }
    }
}

/// Whether a request, which is answered in any case, comes from who may see the page.
pub fn is_admitted(state: &ServerState, headers: &HeaderMap, address: IpAddr) -> bool {
    match state.access.credentials(headers, address) {
        Credentials::Admitted => true,
        Credentials::Missing => false,
        Credentials::Token(attempt) => {
            note(state, address, attempt);
            false
        }
    }
}

fn unauthorized() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let why = "token required: Authorization: Bearer TOKEN\n";
    (StatusCode::UNAUTHORIZED, challenge, why).into_response()
}

pub async fn login() -> Html<&'static str> {
    Html(LOGIN)
}

#[derive(Deserialize)]
pub struct LoginForm {
    token: String,
}

pub async fn submit_login(
    State(state): State<Arc<ServerState>>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Form(given): Form<LoginForm>,
) -> Response {
    let attempt = state.access.attempt(&given.token, address);
    note(&state, address, attempt);
    match attempt {
        Attempt::Admitted => {}
        Attempt::Wrong { .. } => {
            return (StatusCode::UNAUTHORIZED, again("Invalid token.")).into_response();
        }
        Attempt::TooEarly { wait } => {
            let seconds = seconds(wait);
            let said = format!("Too many failed attempts: try again in {seconds} s.");
            return too_many(wait, again(&said));
        }
    }
    match state.access.sessions.begin(Instant::now()) {
        Ok(id) => {
            let cookie = format!(
                "{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}",
                sessions::LIFETIME.as_secs()
            );
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Err(error) => {
            tracing::warn!("no session can begin: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The login page, with why one is still on it.
fn again(why: &str) -> Html<String> {
    Html(LOGIN.replace("<!--wrong-->", &format!("<p>{why}</p>")))
}

/// Counts and logs an attempt that failed. A client that has to wait is not logged again.
fn note(state: &ServerState, address: IpAddr, attempt: Attempt) {
    match attempt {
        Attempt::Admitted => {}
        Attempt::Wrong { failures, delay } => {
            state.counters.wrong_token();
            let wait_s = delay.as_secs();
            tracing::warn!(%address, failures, wait_s, "login failed: wrong token");
        }
        Attempt::TooEarly { .. } => state.counters.rate_limited(),
    }
}

fn too_many(wait: Duration, said: impl IntoResponse) -> Response {
    let retry = [(header::RETRY_AFTER, seconds(wait).to_string())];
    (StatusCode::TOO_MANY_REQUESTS, retry, said).into_response()
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
