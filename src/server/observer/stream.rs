//! Answers without an end: server-sent events, for a bounded number of viewers.

use super::problem::Wrong;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Semaphore, mpsc};

/// The places of those who look at one thing.
#[derive(Debug, Clone)]
pub(super) struct Viewers(Arc<Semaphore>);

impl Viewers {
    /// Places for so many.
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Answers with the events that `view` sends, until it ends or the viewer goes. One piece at
    /// most waits for the viewer; meanwhile `view` waits as well.
    pub(super) fn show<F: Future<Output = ()> + Send + 'static>(
        &self,
        view: impl FnOnce(mpsc::Sender<Bytes>) -> F,
    ) -> Response {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            let words = "as many viewers as there may be look already";
            return Wrong::new(StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        };
        let (sender, pieces) = mpsc::channel(1);
        let (gone, view) = (sender.clone(), view(sender));
        tokio::spawn(async move {
            tokio::select! {
                () = gone.closed() => {}
                () = view => {}
            }
            drop(place);
        });
        let head =
            [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
        (head, Body::new(Pieces(pieces))).into_response()
    }
}

/// A body that ends with the channel's other end.
struct Pieces(mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| Some(Ok(Frame::data(piece?))))
    }
}

/// An event with this text, which has no newline.
pub(super) fn event(text: &str) -> String {
    format!("data: {text}\n\n")
}
