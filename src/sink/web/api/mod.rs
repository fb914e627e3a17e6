//! The HTTP API, version 1: events of the store, their pictures and their recordings.
//!
//! | file | contents |
//! |---|---|
//! | `query` | the parameters of a request |
//! | `archive` | what is asked of the store, on threads of its own |
//! | `media` | files of recordings, in parts |
//! | `openapi.json` | what there is, for programs; `openapi` puts the events' schema in |
//!
//! A database that is slow or locked holds up who asked for it, and nobody else: queries run on blocking threads,
//! two at a time, over connections that can only read, and end when nobody waits for them any more.

mod archive;
mod media;
mod openapi;
mod query;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_util::stream;
use serde::Serialize;

use super::EventFiles;
use super::routes::full;
use super::views::ServerState;
use crate::store::{EVENT_KINDS, csv};
pub use archive::QuerySlots;
use archive::{Archive, Media};
use query::EventQuery;

/// Rows of a CSV file that are read at a time.
const CSV_ROWS: u64 = 1000;

/// Why a request has no better answer.
#[derive(Debug)]
pub enum ApiError {
    /// The pipeline has no store.
    NoStore,
    /// The request is wrong.
    Bad(String),
    /// There is no such event, or it has no such thing.
    NotFound(String),
    /// The event is kept.
    Kept(i64),
    /// Too many watch.
    Full,
    /// The store or a file cannot be used; the log says why.
    Unavailable,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::NoStore => (
                StatusCode::NOT_FOUND,
                "there is no event store: add the sink `store: { path: events.db }` to the pipeline"
                    .to_owned(),
            ),
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why),
            Self::NotFound(why) => (StatusCode::NOT_FOUND, why),
            Self::Kept(id) => (
                StatusCode::CONFLICT,
                format!("event {id} is kept: let it go first (DELETE /api/v1/events/{id}/keep)"),
            ),
            Self::Full => return full(),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the event store cannot be used now: see the log".to_owned(),
            ),
        };
        (status, why + "\n").into_response()
    }
}

/// All that [`openapi`] describes.
fn routes() -> [(&'static str, MethodRouter<Arc<ServerState>>); 9] {
    [
        ("/api/v1/openapi.json", get(openapi::document)),
        ("/api/v1/names", get(names)),
        ("/api/v1/events", get(events)),
        ("/api/v1/events.csv", get(table)),
        ("/api/v1/events/{id}", get(event).delete(delete)),
        ("/api/v1/events/{id}/keep", post(keep).delete(let_go)),
        ("/api/v1/events/{id}/thumbnail.jpg", get(thumbnail)),
        ("/api/v1/events/{id}/clip.mp4", get(clip)),
        ("/api/v1/events/{id}/recording.mp4", get(recording)),
    ]
}

pub fn router() -> Router<Arc<ServerState>> {
    let routes = routes().into_iter();
    routes.fold(Router::new(), |router, (path, methods)| {
        router.route(path, methods)
    })
}

/// Whether there are events to show.
pub fn has_events(state: &ServerState) -> bool {
    state.event_files().store.is_some()
}

fn archive(state: &ServerState) -> Result<Archive, ApiError> {
    let EventFiles { store, media_dirs } = state.event_files();
    let streams = state.all_views();
    Ok(Archive {
        store: store.ok_or(ApiError::NoStore)?,
        streams: streams.iter().map(|of| of.stream().to_owned()).collect(),
        media_dirs,
        slots: state.query_slots.clone(),
    })
}

async fn events(
    State(state): State<Arc<ServerState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let archive = archive(&state)?;
    let query = EventQuery::parse(query.as_deref())?;
    Ok(json(&archive.page(query).await?))
}

async fn names(State(state): State<Arc<ServerState>>) -> Result<Response, ApiError> {
    let archive = archive(&state)?;
    let streams = archive.streams.clone();
    let (labels, zones) = archive.names().await?;
    let names = serde_json::json!({
        "streams": streams, "labels": labels, "zones": zones, "kinds": EVENT_KINDS,
    });
    Ok(json(&names))
}

/// All rows that are asked for, a thousand at a time, each time with a query of its own: a slow reader keeps
/// nothing open.
async fn table(
    State(state): State<Arc<ServerState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let archive = archive(&state)?;
    let mut query = EventQuery::parse_unlimited(query.as_deref())?;
    let slot = state.acquire_slot().ok_or(ApiError::Full)?;
    let left = query.filter.limit.unwrap_or(u64::MAX);
    query.filter.limit = Some(CSV_ROWS.min(left));
    let first = archive.page(query.clone()).await?;
    let state = Some((archive, query, slot, first, csv::head() + "\n", left));
    let pages = stream::unfold(state, |state| async move {
        let (archive, mut query, slot, page, mut text, left) = state?;
        for of in &page.events {
            text.push_str(&csv::line(&of.event));
            text.push('\n');
        }
        let left = left.saturating_sub(page.events.len() as u64);
        if page.next.is_none() || left == 0 {
            return Some((Ok(text), None));
        }
        // By its place, which stays when the event goes.
        query.before = None;
        query.filter.after = page.events.last().map(|last| (&last.event).into());
        query.filter.limit = Some(CSV_ROWS.min(left));
        Some(match archive.page(query.clone()).await {
            Ok(next) => {
                let state = (archive, query, slot, next, String::new(), left);
                (Ok(text), Some(state))
            }
            Err(_) => (Err(io::Error::other("the event store failed")), None),
        })
    });
    let kind = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"events.csv\"",
        ),
    ];
    Ok((kind, Body::from_stream(pages)).into_response())
}

async fn event(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(&archive(&state)?.event(id_of(&id)?).await?))
}

async fn delete(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    archive(&state)?.delete(id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keep(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(&archive(&state)?.keep(id_of(&id)?, true).await?))
}

async fn let_go(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(json(&archive(&state)?.keep(id_of(&id)?, false).await?))
}

async fn thumbnail(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let jpeg = archive(&state)?.thumbnail(id_of(&id)?).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

async fn clip(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    send(&state, &id, Media::ClipOrRecording, &headers).await
}

async fn recording(
    State(state): State<Arc<ServerState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    send(&state, &id, Media::Recording, &headers).await
}

/// Sends the file that an event names. It takes a watcher's place, as it needs a descriptor.
async fn send(
    state: &ServerState,
    id: &str,
    media: Media,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let archive = archive(state)?;
    let id = id_of(id)?;
    let slot = state.acquire_slot().ok_or(ApiError::Full)?;
    let file = archive.open(id, media).await?;
    Ok(media::answer(file, headers, slot))
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("plain data with string keys");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn id_of(text: &str) -> Result<i64, ApiError> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| {
        ApiError::Bad(format!(
            "expected the number of an event, not `{}`",
            shown(text)
        ))
    })
}

/// What a request said, as far as an answer of one line repeats it.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(60).collect()
}
