//! The HTTP API of the web page, asked by raw sockets; a browser uses it in `tests/events_page.sh`.

mod site;

use std::fs;
use std::io::Read;

use serde_json::Value;

use crate::support::{PATIENCE, records, run, stderr, until};
use crate::web::Running;
use site::{STREAM, Site, answer, content};

const TOKEN: &str = "Authorization: Bearer open sesame; ü=1\r\n";

#[test]
fn events_are_asked_for_and_come_in_pages() {
    let site = Site::start("");
    // Everything once, in the order of the command.
    let (mut listed, mut next) = site.ids("label=badger&limit=50");
    let first = listed.clone();
    assert_eq!(first.len(), 50);
    while let Some(before) = next {
        let (more, following) = site.ids(&format!("label=badger&limit=50&before={before}"));
        assert!(!more.is_empty());
        listed.extend(more);
        next = following;
    }
    assert_eq!(listed, (1..=120).rev().collect::<Vec<i64>>());
    assert_eq!(site.ids("label=badger").0, first);
    assert_eq!(site.ids("label=badger&limit=120").1, None);
    // As the command has them.
    let path = site.path("events.db").display().to_string();
    let output = run(&["events", &path, "--label", "badger", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = site.get("/api/v1/events?label=badger&limit=500").json();
    assert_eq!(page["events"], Value::Array(records(&output.stdout)));

    for (query, expected) in [
        ("zone=den%2C+%22north%22", vec![11]),
        ("label=badger&kind=zone", vec![11]),
        ("text=SLEEPY+badger", vec![21]),
        ("label=badger&stream=attic", vec![]),
        ("label=fox", vec![]),
        ("until=0:02:00&since=0:00:00", vec![122]),
        (
            "since=2026-09-21T14:14:20Z&until=2026-09-21T14:15:20Z&label=badger",
            vec![2],
        ),
        ("label=badger&before=3&limit=1", vec![2]),
    ] {
        assert_eq!(site.ids(query).0, expected, "{query}");
    }
    let (ids, _) = site.ids("label=badger&before=32&limit=2");
    assert_eq!(ids, [31, 30], "those that began together");

    let one = site.get("/api/v1/events/11").json();
    assert_eq!(
        (&one["zone"], &one["kept"]),
        (&"den, \"north\"".into(), &false.into())
    );
    let picture = site.get("/api/v1/events/1/thumbnail.jpg");
    assert!(
        picture.head.contains("content-type: image/jpeg"),
        "{}",
        picture.head
    );
    assert_eq!(picture.body, [0xff, 0xd8, 7, 0, 13, 10]);
    assert_eq!(
        site.get("/api/v1/events/2/thumbnail.jpg").line(404),
        "event 2 has no picture"
    );
    let names = site.get("/api/v1/names").json();
    assert_eq!(names["streams"], serde_json::json!([STREAM]));
    let has = |list: &str, name: &str| {
        let list = names[list].as_array().expect("a list");
        list.contains(&name.into())
    };
    assert!(has("labels", "badger") && has("labels", "hare") && !has("labels", "fox"));
    assert!(has("zones", "den, \"north\"") && has("kinds", "loiter"));

    let csv = site.get("/api/v1/events.csv?label=badger");
    assert!(
        csv.head.contains("text/csv") && csv.head.contains("attachment"),
        "{}",
        csv.head
    );
    let output = run(&["events", &path, "--label", "badger", "--csv"]);
    assert_eq!(csv.text(), String::from_utf8_lossy(&output.stdout));
    let short = site.get("/api/v1/events.csv?label=badger&limit=3");
    assert_eq!(short.text().lines().count(), 4);

    for (path, words) in [
        ("events?lable=badger", "unknown field `lable`"),
        ("events?limit=501", "limit `501`: expected 1 to 500"),
        ("events?since=soon", "since `soon`: expected a time"),
        ("events?kind=cat", "kind `cat`: expected one of"),
        ("events.csv?before=x", "before `x`: expected 1 to"),
        (
            "events/eleven",
            "expected the number of an event, not `eleven`",
        ),
        ("events/-1/clip.mp4", "expected the number of an event"),
        (
            "events/99999999999999999999",
            "expected the number of an event",
        ),
    ] {
        let answer = site.get(&format!("/api/v1/{path}"));
        assert!(
            answer.line(400).contains(words),
            "{path}: {}",
            answer.text()
        );
    }
    // What is not there, and what the page's streams do not have.
    for id in [4_000_000, 121] {
        for (method, of) in [
            ("GET", ""),
            ("GET", "/thumbnail.jpg"),
            ("GET", "/clip.mp4"),
            ("GET", "/recording.mp4"),
            ("POST", "/keep"),
            ("DELETE", "/keep"),
            ("DELETE", ""),
        ] {
            let answer = site.ask(method, &format!("/api/v1/events/{id}{of}"), "");
            assert_eq!(
                answer.line(404),
                format!("there is no event {id}"),
                "{method} {of}"
            );
        }
        let answer = site.get(&format!("/api/v1/events?before={id}"));
        assert_eq!(answer.line(404), format!("there is no event {id}"));
    }
    let page = site.get("/");
    assert!(page.text().contains("data-events=\"true\""));
}

#[test]
fn files_are_sent_in_parts_and_only_those_of_the_sinks() {
    let site = Site::start("");
    let content = content();
    let clip = "/api/v1/events/123/clip.mp4";
    assert_eq!(site.get("/api/v1/events/123").json()["media_ms"], 500.0);
    assert_eq!(site.get("/api/v1/events/123").json()["clip"], "a.mp4");
    let whole = site.get(clip);
    assert_eq!((whole.status, whole.body.len()), (200, content.len()));
    assert!(whole.body == content);
    for line in [
        "accept-ranges: bytes",
        "content-type: video/mp4",
        "content-length: 300000",
    ] {
        assert!(whole.head.contains(line), "{}", whole.head);
    }
    for (range, first, last) in [
        ("0-99", 0, 99),
        ("299990-", 299_990, 299_999),
        ("-5", 299_995, 299_999),
        ("1000-999999", 1000, 299_999),
    ] {
        let part = site.ask("GET", clip, &format!("Range: bytes={range}\r\n"));
        assert_eq!(part.status, 206, "{range}");
        let said = format!("content-range: bytes {first}-{last}/300000");
        assert!(part.head.contains(&said), "{}", part.head);
        assert!(part.body == content[first..=last], "{range}");
    }
    let beyond = site.ask("GET", clip, "Range: bytes=300000-\r\n");
    assert_eq!(beyond.line(416), "the file has 300000 bytes");
    assert!(
        beyond.head.contains("content-range: bytes */300000"),
        "{}",
        beyond.head
    );
    let head = site.ask("HEAD", clip, "");
    assert!(
        head.status == 200 && head.body.is_empty() && head.head.contains("content-length: 300000"),
        "{}",
        head.head
    );

    // Gone; outside, by dots, by a link, by a whole path; no video; no file.
    for id in 124..=129 {
        let event = site.get(&format!("/api/v1/events/{id}")).json();
        assert!(event["media_ms"].is_null(), "{event}");
        let name = event["clip"].as_str().expect("a name");
        assert!(!name.contains('/'), "{name}");
        let answer = site.get(&format!("/api/v1/events/{id}/clip.mp4"));
        assert_eq!(
            answer.line(404),
            format!("event {id} has no such file, or no more")
        );
    }
    for path in [
        "/api/v1/events/123/../../../../etc/passwd",
        "/api/v1/events/..%2f..%2fetc%2fpasswd/clip.mp4",
        "/api/v1/events/123%2f..%2f/clip.mp4",
        "/api/v1/events/123/a.txt",
    ] {
        let answer = site.get(path);
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.text()
        );
    }
    assert_eq!(site.get("/api/v1/events/123/recording.mp4").status, 404);
    // Once it is deleted.
    fs::remove_file(site.path("clips/a.mp4")).expect("is there");
    assert_eq!(site.get(clip).status, 404);
    assert!(site.get("/api/v1/events/123").json()["media_ms"].is_null());

    // What the run itself writes.
    let mut found = None;
    until("an event with picture and clip", || {
        let page = site
            .get("/api/v1/events?kind=zone&limit=500&since=24h")
            .json();
        let events = page["events"].as_array().expect("a list");
        let has_both =
            |event: &&Value| event["has_thumbnail"] == true && event["media_ms"].is_number();
        found = events.iter().find(has_both).cloned();
        found.is_some()
    });
    let id = &found.expect("found")["id"];
    let picture = site.get(&format!("/api/v1/events/{id}/thumbnail.jpg"));
    image::load_from_memory(&picture.body).expect("a JPEG");
    let start = site.ask(
        "GET",
        &format!("/api/v1/events/{id}/clip.mp4"),
        "Range: bytes=4-7\r\n",
    );
    assert_eq!((start.status, &*start.body), (206, &b"ftyp"[..]));
}

#[test]
fn events_are_kept_and_deleted_and_a_locked_store_holds_nobody_up() {
    let site = Site::start("");
    let keep = "/api/v1/events/1/keep";
    let evil = site.ask(
        "DELETE",
        "/api/v1/events/1",
        "Origin: http://evil.example\r\n",
    );
    assert_eq!(evil.status, 403);
    assert_eq!(
        site.ask("POST", keep, "Sec-Fetch-Site: cross-site\r\n")
            .status,
        403
    );
    assert_eq!(site.ask("POST", keep, "").json()["kept"], true);
    let refused = site.ask("DELETE", "/api/v1/events/1", "");
    assert!(
        refused.line(409).starts_with("event 1 is kept: "),
        "{}",
        refused.text()
    );
    assert_eq!(site.get("/api/v1/events/1").json()["kept"], true);
    assert_eq!(site.ask("DELETE", keep, "").json()["kept"], false);
    let deleted = site.ask(
        "DELETE",
        "/api/v1/events/1",
        "Sec-Fetch-Site: same-origin\r\n",
    );
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(
        site.ask("DELETE", "/api/v1/events/1", "").line(404),
        "there is no event 1"
    );
    assert_eq!(site.get("/api/v1/events/1/thumbnail.jpg").status, 404);
    let connection = rusqlite::Connection::open(site.path("events.db")).expect("it is there");
    let pictures = "SELECT count(*) FROM thumbnails WHERE event = 1";
    let left: i64 = connection
        .query_row(pictures, [], |row| row.get(0))
        .expect("a count");
    assert_eq!(left, 0);

    // Somebody else writes, and does not end.
    connection.busy_timeout(PATIENCE).expect("it is set");
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .expect("it can be locked");
    let request =
        "POST /api/v1/events/2/keep HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut waiting: Vec<_> = (0..5).map(|_| site.running.ask(request)).collect();
    site.running.goes_on(30.0);
    until("a picture", || site.get("/snapshot.jpg").status == 200);
    assert!(
        site.get("/healthz")
            .head
            .contains("content-type: application/json")
    );
    assert_eq!(site.get("/page.js").status, 200);
    connection.execute_batch("ROLLBACK").expect("it is free");
    for socket in &mut waiting {
        let mut said = String::new();
        socket.read_to_string(&mut said).expect("an answer");
        let is_told = ["HTTP/1.1 200", "HTTP/1.1 503", "HTTP/1.1 408"]
            .iter()
            .any(|of| said.starts_with(of));
        assert!(is_told, "{said}");
    }
    until("the store is free again", || {
        site.ask("POST", "/api/v1/events/2/keep", "").status == 200
    });
}

#[test]
fn the_description_names_what_is_served_and_all_of_it_needs_the_token() {
    let site = Site::start(", token: \"${MOBILENS_TEST_TOKEN}\"");
    let description = site.ask("GET", "/api/v1/openapi.json", TOKEN).json();
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().expect("an object");
    assert!(paths.len() > 5);
    for (path, methods) in paths {
        let path = path.replace("{id}", "4000000");
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
            let is_named = !methods[method.to_lowercase()].is_null();
            let without = site.ask(method, &path, "");
            assert_eq!(without.status, 401, "{method} {path}");
            let wrong = site.ask(method, &path, "Cookie: mobilens=00\r\n");
            assert_eq!(wrong.status, 401, "{method} {path}");
            let with = site.ask(method, &path, TOKEN);
            assert_eq!(
                with.status == 405,
                !is_named,
                "{method} {path}: {}",
                with.text()
            );
            if is_named {
                let statuses = &methods[method.to_lowercase()]["responses"];
                let known = &statuses[with.status.to_string()];
                assert!(
                    known.is_object(),
                    "{method} {path}: {} is not described",
                    with.status
                );
            }
        }
    }
    let elsewhere = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{TOKEN}\r\n"
    );
    assert_eq!(answer(&site.running, &elsewhere).status, 421);
}

#[test]
fn without_a_store_there_is_nothing_and_the_page_does_not_offer_it() {
    let running = Running::start("", &[]);
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        answer(&running, &request)
    };
    for path in [
        "events",
        "events/1",
        "events/1/thumbnail.jpg",
        "events/1/clip.mp4",
        "events.csv",
        "names",
    ] {
        let answer = get(&format!("/api/v1/{path}"));
        let why =
            "there is no event store: add the sink `store: { path: events.db }` to the pipeline";
        assert_eq!(answer.line(404), why, "{path}");
    }
    assert_eq!(get("/api/v1/openapi.json").status, 200);
    let page = get("/");
    assert!(
        page.text().contains("data-events=\"false\"")
            && page
                .text()
                .contains("id=\"views\" aria-label=\"Views\" hidden")
    );
}
