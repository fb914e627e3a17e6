//! HTTP routes: the page, pictures, records, metrics, health; beside them the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::address::PeerAddress;
use super::api;
use super::guard::{
    check_request, is_admitted, login, require_token, security_headers, submit_login,
};
use super::metrics;
use super::views::{BOUNDARY, OverlayLayers, ServerState};
use crate::flow::health::HealthStatus;

const PAGE: &str = include_str!("page.html");
const STYLES: [(&str, &str); 3] = [
    ("/login.css", include_str!("login.css")),
    ("/page.css", include_str!("page.css")),
    ("/events.css", include_str!("events.css")),
];
const SCRIPTS: [(&str, &str); 5] = [
    ("/page.js", include_str!("page.js")),
    ("/live.js", include_str!("live.js")),
    ("/events.js", include_str!("events.js")),
    ("/event.js", include_str!("event.js")),
    ("/text.js", include_str!("text.js")),
];
/// Largest body of a request: the login form has no long one.
const MAX_FORM_BYTES: usize = 4096;
/// How long a snapshot waits for a picture.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);

pub fn router(state: Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/live.mjpeg", get(live))
        .route("/snapshot.jpg", get(snapshot))
        .route("/events", get(events))
        .route("/metrics", get(counts))
        .merge(api::router())
        .route_layer(from_fn_with_state(Arc::clone(&state), require_token));
    // Nothing of these tells what the cameras see.
    let styles = STYLES.map(|(path, text)| (path, "text/css; charset=utf-8", text));
    let scripts = SCRIPTS.map(|(path, text)| (path, "text/javascript; charset=utf-8", text));
    let files = styles.into_iter().chain(scripts);
    let open = Router::new()
        .route("/login", get(login).post(submit_login))
        .route("/healthz", get(healthz));
    let open = files
        .fold(open, |router, (path, kind, text)| {
            router.route(path, get(move || fixed(kind, text)))
        })
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES));
    guarded
        .merge(open)
        .layer(from_fn_with_state(Arc::clone(&state), check_request))
        .layer(middleware::map_response(security_headers))
        .with_state(state)
}

async fn fixed(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

/// 200 while all streams give frames or reconnect, else 503. How each stream is, is told to who may see
/// the page.
async fn healthz(
    State(state): State<Arc<ServerState>>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    headers: HeaderMap,
) -> Response {
    let report = state.health.report();
    let status = match report.status {
        HealthStatus::Ok => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = if is_admitted(&state, &headers, address) {
        serde_json::json!(report)
    } else {
        serde_json::json!({ "status": report.status })
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, format!("{body}\n")).into_response()
}

async fn page(State(state): State<Arc<ServerState>>) -> Html<String> {
    let streams: Vec<_> = state
        .all_views()
        .iter()
        .map(|views| views.stream().to_owned())
        .collect();
    // Inside a script element, where no tag may begin.
    let streams = serde_json::Value::from(streams)
        .to_string()
        .replace('<', "\\u003c");
    let has_events = api::has_events(&state).to_string();
    let page = PAGE.replace("{{events}}", &has_events);
    Html(page.replace("\"{{streams}}\"", &streams))
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
    let of_streams = all_views
        .iter()
        .map(|views| (views.stream(), views.metrics()));
    let text = metrics::render(of_streams) + &state.counters.render();
    (kind, text)
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "there is no such stream\n").into_response()
}

/// Too many watch.
pub(super) fn full() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "too many are watching; try again later\n",
    )
        .into_response()
}
