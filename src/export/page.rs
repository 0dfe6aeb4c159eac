//! The page: the last report's bytes, and whether the loop that makes reports turns.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::view::prometheus::MEDIA_TYPE;

/// The loop is called stuck after so many intervals without a turn,
const STUCK_AFTER: u32 = 3;
/// and not before this: a scan of a host with many files takes its time.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

const INDEX: &str = "<!doctype html><title>sockleak</title><h1>sockleak</h1><ul>\
<li><a href=\"/metrics\">/metrics</a><li><a href=\"/-/ready\">/-/ready</a>\
<li><a href=\"/-/healthy\">/-/healthy</a></ul>\n";

/// Shared by the loop that makes reports and the thread that serves them.
#[derive(Debug)]
pub struct Page {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    report: Option<Bytes>,
    turned: Instant,
}

impl Page {
    /// A page without a report yet; there will be one each interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            patience: interval.saturating_mul(STUCK_AFTER).max(LEAST_PATIENCE),
            state: Mutex::new(State { report: None, turned: Instant::now() }),
        }
    }

    /// Replaces the report.
    pub fn publish(&self, report: Vec<u8>) {
        let mut state = self.state();
        state.report = Some(report.into());
        state.turned = Instant::now();
    }

    /// The answer to a request.
    pub fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let State { report, turned } = &*self.state();
        let not_ready = || plain(StatusCode::SERVICE_UNAVAILABLE, "no report yet\n");
        match path {
            "/" => response(StatusCode::OK, "text/html; charset=utf-8", INDEX),
            "/metrics" => match report {
                Some(report) => response(StatusCode::OK, MEDIA_TYPE, report.clone()),
                None => not_ready(),
            },
            "/-/healthy" if turned.elapsed() > self.patience => {
                let text = format!("no report for {} s\n", turned.elapsed().as_secs());
                plain(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            "/-/healthy" => plain(StatusCode::OK, "healthy\n"),
            "/-/ready" if report.is_none() => not_ready(),
            "/-/ready" => plain(StatusCode::OK, "ready\n"),
            _ => plain(StatusCode::NOT_FOUND, "see /metrics\n"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(page: &Page, path: &str) -> u16 {
        page.answer(&Method::GET, path).status().as_u16()
    }

    #[test]
    fn nothing_is_served_before_the_first_report() {
        let page = Page::new(SECOND);
        assert_eq!((status(&page, "/metrics"), status(&page, "/-/ready")), (503, 503));
        assert_eq!((status(&page, "/-/healthy"), status(&page, "/")), (200, 200));
        page.publish(b"up 1\n".to_vec());
        assert_eq!((status(&page, "/metrics"), status(&page, "/-/ready")), (200, 200));
        assert_eq!(status(&page, "/etc/passwd"), 404);
        let media_type = page.answer(&Method::HEAD, "/metrics").headers()[CONTENT_TYPE].clone();
        assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    }

    #[test]
    fn other_methods_are_refused() {
        let page = Page::new(SECOND);
        page.publish(vec![]);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT]
        {
            let refusal = page.answer(&method, "/metrics");
            assert_eq!(refusal.status(), 405, "{method}");
            assert_eq!(refusal.headers()[ALLOW], "GET, HEAD");
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_is_not_healthy() {
        let page = Page::new(SECOND);
        page.publish(vec![]);
        assert_eq!(status(&page, "/-/healthy"), 200);
        page.state().turned = Instant::now().checked_sub(LEAST_PATIENCE + SECOND).unwrap();
        assert_eq!((status(&page, "/-/healthy"), status(&page, "/-/ready")), (503, 200));
        page.publish(vec![]);
        assert_eq!(status(&page, "/-/healthy"), 200);
    }
}
