//! HTTP in a thread of its own, without any capability.
//!
//! Whatever clients do, they cost bounded memory, and never a report: each listener has at most
//! `MOST_CLIENTS` at a time, of which the oldest has to go for a new one; each has `PATIENCE` for
//! everything, and `MOST_HEADER` bytes for its request. Bodies are not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::listen::Listener;
use super::page::Page;
use crate::host::privilege;

/// Clients at a time: Prometheus needs one. Each costs a descriptor and some 20 KiB.
const MOST_CLIENTS: usize = 64;
/// Time for a client to send its request and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request. The least that hyper allows is 8 KiB.
const MOST_HEADER: usize = 16 << 10;
/// Time until the next attempt where a connection cannot be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts the thread. It ends only by an error.
///
/// # Errors
/// Where no thread can be started.
pub fn start(listeners: Vec<Listener>, page: Arc<Page>) -> io::Result<JoinHandle<io::Error>> {
    let serve = move || match serve_all(listeners, &page) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    thread::Builder::new().name("http".to_owned()).spawn(serve)
}

fn serve_all(listeners: Vec<Listener>, page: &Arc<Page>) -> io::Result<Infallible> {
    privilege::keep_only(&[])?;
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        for listener in listeners {
            serve(listener, page)?;
        }
        future::pending().await
    })
}

/// Begins to serve a listener.
fn serve(listener: Listener, page: &Arc<Page>) -> io::Result<()> {
    let page = Arc::clone(page);
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async move {
                let mut crowd = Crowd::default();
                loop {
                    crowd.admit(listener.accept().await.map(|(stream, _)| stream), &page).await;
                }
            });
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(async move {
                let mut crowd = Crowd::default();
                loop {
                    crowd.admit(listener.accept().await.map(|(stream, _)| stream), &page).await;
                }
            });
        }
    }
    Ok(())
}

/// The clients of a listener, the oldest first.
#[derive(Default)]
struct Crowd(VecDeque<AbortHandle>);

impl Crowd {
    /// Talks to one more client. Who waits since long makes room: it is slow, or broken.
    async fn admit<Stream>(&mut self, accepted: io::Result<Stream>, page: &Arc<Page>)
    where
        Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = match accepted {
            Ok(stream) => stream,
            // The client has gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return,
            Err(_) => return sleep(PAUSE).await,
        };
        if self.0.len() >= MOST_CLIENTS {
            self.0.retain(|client| !client.is_finished());
        }
        if self.0.len() >= MOST_CLIENTS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(tokio::spawn(talk(stream, Arc::clone(page))).abort_handle());
    }
}

/// One request, and its answer.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, page: Arc<Page>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = page.answer(request.method(), request.uri().path());
        future::ready(Ok::<_, Infallible>(answer))
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MOST_HEADER);
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that breaks off, or takes too long, concerns nobody else.
    let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await;
}
