//! Stands in for the HTTP API in a build without the event store.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

use super::views::ServerState;

/// No query runs.
#[derive(Clone, Default)]
pub struct QuerySlots;

pub fn router() -> Router<Arc<ServerState>> {
    let why = "this program was built without the Cargo feature `store`\n";
    Router::new().route(
        "/api/v1/{*rest}",
        any(move || async move { (StatusCode::NOT_FOUND, why) }),
    )
}

/// There are none to show.
pub fn has_events(_: &ServerState) -> bool {
    false
}
