//! Who asks for what, and may they.

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
const SNAPSHOT: Duration = Duration::from_secs(5);

pub fn router(site: Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/live.mjpeg", get(live))
        .route("/snapshot.jpg", get(snapshot))
        .route("/events", get(events))
        .route("/metrics", get(counts))
        .route_layer(from_fn_with_state(Arc::clone(&site), guard));
    Router::new()
        .merge(guarded)
        .route("/login", get(login).post(enter))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::map_response(harden))
        .with_state(site)
}

/// Nothing of this server belongs into another's page.
async fn harden(mut response: Response) -> Response {
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

/// Lets those pass who have the token; a browser is shown where to give it.
async fn guard(State(site): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    let admitted =
        !site.is_locked() || token_of(request.headers()).is_some_and(|t| site.admits(&t));
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
        "a token is wanted: Authorization: Bearer TOKEN\n",
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

/// A token may hold what a cookie may not.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let byte = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

async fn page(State(site): State<Arc<ServerState>>) -> Html<String> {
    let streams: Vec<_> = site
        .hubs()
        .iter()
        .map(|hub| hub.stream().to_owned())
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
struct Given {
    token: String,
}

async fn enter(State(site): State<Arc<ServerState>>, Form(given): Form<Given>) -> Response {
    if !site.admits(&given.token) {
        // A guess a second is no use to anybody.
        tokio::time::sleep(Duration::from_secs(1)).await;
        return (
            StatusCode::UNAUTHORIZED,
            Html(LOGIN.replace("<!--wrong-->", "<p>That is not it.</p>")),
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
struct Wanted {
    stream: Option<String>,
    show: Option<String>,
}

/// The picture, one JPEG after another, as fast as the watcher takes them.
async fn live(State(site): State<Arc<ServerState>>, Query(wanted): Query<Wanted>) -> Response {
    let Some(place) = site.place() else {
        return full();
    };
    let Some(hub) = site.hub(wanted.stream.as_deref()) else {
        return unknown();
    };
    let watcher = hub.watch(OverlayLayers::parse(wanted.show.as_deref()));
    let pictures = stream::unfold((watcher, place), |(mut watcher, place)| async move {
        loop {
            watcher.changed().await.ok()?;
            let newest = watcher.borrow_and_update().clone();
            if let Some(picture) = newest {
                let part = Ok::<_, std::convert::Infallible>(picture.part());
                return Some((part, (watcher, place)));
            }
        }
    });
    let kind = [(
        header::CONTENT_TYPE,
        format!("multipart/x-mixed-replace; boundary={BOUNDARY}"),
    )];
    (kind, Body::from_stream(pictures)).into_response()
}

async fn snapshot(State(site): State<Arc<ServerState>>, Query(wanted): Query<Wanted>) -> Response {
    let Some(_place) = site.place() else {
        return full();
    };
    let Some(hub) = site.hub(wanted.stream.as_deref()) else {
        return unknown();
    };
    let mut watcher = hub.watch(OverlayLayers::parse(wanted.show.as_deref()));
    let next = tokio::time::timeout(SNAPSHOT, watcher.changed()).await;
    let newest = watcher.borrow_and_update().clone();
    match (next, newest) {
        (Ok(Ok(())), Some(picture)) => {
            let name = format!("inline; filename=\"{}.jpg\"", hub.stream());
            let kind = [
                (header::CONTENT_TYPE, "image/jpeg".to_owned()),
                (header::CONTENT_DISPOSITION, name),
            ];
            (kind, picture.jpeg()).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no picture comes\n").into_response(),
    }
}

/// The last events, then all records as they are made; one that reads slowly misses some.
async fn events(State(site): State<Arc<ServerState>>) -> Response {
    let Some(place) = site.place() else {
        return full();
    };
    let (past, lines) = site.listen();
    let past = stream::iter(
        past.into_iter()
            .map(|line| Ok(Event::default().data(&*line))),
    );
    let coming = stream::unfold((lines, place), |(mut lines, place)| async move {
        loop {
            match lines.recv().await {
                Ok(line) => {
                    let event = Event::default().data(&*line);
                    return Some((Ok::<_, std::convert::Infallible>(event), (lines, place)));
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

async fn counts(State(site): State<Arc<ServerState>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    let hubs = site.hubs();
    (
        kind,
        metrics::render(hubs.iter().map(|hub| (hub.stream(), hub.metrics()))),
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
