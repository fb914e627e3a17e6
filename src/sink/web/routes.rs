//! HTTP routes and authentication.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Form, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::metrics;
use super::views::{BOUNDARY, OverlayLayers, ServerState};

const PAGE: &str = include_str!("page.html");
const LOGIN: &str = include_str!("login.html");
/// Name of the cookie that holds the token.
const COOKIE: &str = "mobilens";
/// How long a snapshot waits for a picture.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);

pub fn router(state: Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/live.mjpeg", get(live))
        .route("/snapshot.jpg", get(snapshot))
        .route("/events", get(events))
        .route("/metrics", get(counts))
        .route_layer(from_fn_with_state(Arc::clone(&state), require_token));
    Router::new()
        .merge(guarded)
        .route("/login", get(login).post(submit_login))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::map_response(security_headers))
        .with_state(state)
}

/// Sets security headers on every response.
async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Middleware: requires the token; browsers are redirected to the login page.
async fn require_token(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = !state.requires_token()
        || token_of(request.headers()).is_some_and(|t| state.accepts_token(&t));
    if admitted {
        return next.run(request).await;
    }
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        return Redirect::to("/login").into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (
        StatusCode::UNAUTHORIZED,
        challenge,
        "token required: Authorization: Bearer TOKEN\n",
    )
        .into_response()
}

fn token_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let cookies = text(header::COOKIE).unwrap_or_default();
    let mut cookies = cookies
        .split(';')
        .filter_map(|cookie| cookie.trim().split_once('='));
    let cookie = cookies
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| unhex(value));
    bearer
        .map(|token| token.trim().to_owned())
        .or(cookie.flatten())
}

/// Encodes a token, which may contain characters that a cookie may not.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let byte = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

async fn page(State(state): State<Arc<ServerState>>) -> Html<String> {
    let streams: Vec<_> = state
        .all_views()
        .iter()
        .map(|views| views.stream().to_owned())
        .collect();
    // Inside a script, where no tag may begin.
    let streams = serde_json::Value::from(streams)
        .to_string()
        .replace('<', "\\u003c");
    Html(PAGE.replace("\"{{streams}}\"", &streams))
}

async fn login() -> Html<&'static str> {
    Html(LOGIN)
}

#[derive(Deserialize)]
struct LoginForm {
    token: String,
}

async fn submit_login(
    State(state): State<Arc<ServerState>>,
    Form(given): Form<LoginForm>,
) -> Response {
    if !state.accepts_token(&given.token) {
        // Limits the rate of guesses.
        tokio::time::sleep(Duration::from_secs(1)).await;
        return (
            StatusCode::UNAUTHORIZED,
            Html(LOGIN.replace("<!--wrong-->", "<p>Invalid token.</p>")),
        )
            .into_response();
    }
    let cookie = format!(
        "{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000",
        hex(&given.token)
    );
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

#[derive(Deserialize)]
struct PictureQuery {
    stream: Option<String>,
    show: Option<String>,
}

/// MJPEG stream, as fast as the client reads it.
async fn live(
    State(state): State<Arc<ServerState>>,
    Query(wanted): Query<PictureQuery>,
) -> Response {
    let Some(slot) = state.acquire_slot() else {
        return full();
    };
    let Some(views) = state.views(wanted.stream.as_deref()) else {
        return unknown();
    };
    let watcher = views.watch(OverlayLayers::parse(wanted.show.as_deref()));
    let pictures = stream::unfold((watcher, slot), |(mut watcher, slot)| async move {
        loop {
            watcher.changed().await.ok()?;
            let newest = watcher.borrow_and_update().clone();
            if let Some(picture) = newest {
                let part = Ok::<_, std::convert::Infallible>(picture.part());
                return Some((part, (watcher, slot)));
            }
        }
    });
    let kind = [(
        header::CONTENT_TYPE,
        format!("multipart/x-mixed-replace; boundary={BOUNDARY}"),
    )];
    (kind, Body::from_stream(pictures)).into_response()
}

async fn snapshot(
    State(state): State<Arc<ServerState>>,
    Query(wanted): Query<PictureQuery>,
) -> Response {
    let Some(_place) = state.acquire_slot() else {
        return full();
    };
    let Some(views) = state.views(wanted.stream.as_deref()) else {
        return unknown();
    };
    let mut watcher = views.watch(OverlayLayers::parse(wanted.show.as_deref()));
    let next = tokio::time::timeout(SNAPSHOT_TIMEOUT, watcher.changed()).await;
    let newest = watcher.borrow_and_update().clone();
    match (next, newest) {
        (Ok(Ok(())), Some(picture)) => {
            let name = format!("inline; filename=\"{}.jpg\"", views.stream());
            let kind = [
                (header::CONTENT_TYPE, "image/jpeg".to_owned()),
                (header::CONTENT_DISPOSITION, name),
            ];
            (kind, picture.jpeg()).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no picture comes\n").into_response(),
    }
}

/// Server-sent events: recent events, then all records; slow clients miss some.
async fn events(State(state): State<Arc<ServerState>>) -> Response {
    let Some(slot) = state.acquire_slot() else {
        return full();
    };
    let (past, lines) = state.listen();
    let past = stream::iter(
        past.into_iter()
            .map(|line| Ok(Event::default().data(&*line))),
    );
    let coming = stream::unfold((lines, slot), |(mut lines, slot)| async move {
        loop {
            match lines.recv().await {
                Ok(line) => {
                    let event = Event::default().data(&*line);
                    return Some((Ok::<_, std::convert::Infallible>(event), (lines, slot)));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(past.chain(coming))
        .keep_alive(KeepAlive::default())
        .into_response()
}

async fn counts(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    let all_views = state.all_views();
    (
        kind,
        metrics::render(
            all_views
                .iter()
                .map(|views| (views.stream(), views.metrics())),
        ),
    )
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "there is no such stream\n").into_response()
}

fn full() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "too many are watching; try again later\n",
    )
        .into_response()
}
