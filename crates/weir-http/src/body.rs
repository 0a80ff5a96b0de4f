//! Reading a request's body: at most as many bytes as an upload may have, within a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// How long the rest of an unwanted body may take. Mostly it came with the head.
const DISCARD_TIME: Duration = Duration::from_millis(100);

/// A request's body and whether all of it has been taken off the connection.
#[derive(Debug)]
pub(crate) struct Payload {
    incoming: Incoming,
    is_complete: bool,
}

/// Why there is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// The peer broke off, or the framing is wrong.
    Broken,
    /// It did not arrive in time.
    Late,
    /// It is larger than allowed.
    TooLarge,
}

impl Payload {
    pub(crate) fn new(incoming: Incoming) -> Self {
        let is_complete = incoming.is_end_stream();
        Self {
            incoming,
            is_complete,
        }
    }

    /// Whether nothing of the body is left on the connection.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Reads the body. One that announces itself as larger than `limit` is not read at all, one that
    /// turns out to be is not read further.
    pub(crate) async fn read(
        &mut self,
        limit: usize,
        patience: Duration,
    ) -> Result<Bytes, PayloadError> {
        if self.incoming.size_hint().lower() > limit as u64 {
            return Err(PayloadError::TooLarge);
        }
        let read = tokio::time::timeout(patience, self.collect(limit));
        read.await.unwrap_or(Err(PayloadError::Late))
    }

    /// Takes a body off the connection that nobody wants, piece by piece, so that the next request
    /// can follow. A large or slow one is left there.
    pub(crate) async fn discard(&mut self, limit: usize) {
        if self.is_complete || self.incoming.size_hint().lower() > limit as u64 {
            return;
        }
        let mut left = limit;
        let discarded = async {
            while let Ok(Some(piece)) = self.piece().await {
                match left.checked_sub(piece.len()) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // Whether that was all of it is known to `is_complete`.
        let _ = tokio::time::timeout(DISCARD_TIME, discarded).await;
    }

    /// A body in one piece, which nearly all are, is passed on as it is, without a copy.
    async fn collect(&mut self, limit: usize) -> Result<Bytes, PayloadError> {
        let Some(first) = self.piece().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(PayloadError::TooLarge);
        }
        let Some(second) = self.piece().await? else {
            return Ok(first);
        };
        let mut all = BytesMut::from(&*first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if piece.len() > limit - all.len() {
                return Err(PayloadError::TooLarge);
            }
            all.extend_from_slice(&piece);
            next = self.piece().await?;
        }
        Ok(all.freeze())
    }

    /// The next piece of data; trailers are passed over.
    async fn piece(&mut self) -> Result<Option<Bytes>, PayloadError> {
        while !self.is_complete {
            let frame = self.incoming.frame().await;
            let frame = frame.transpose().map_err(|_| PayloadError::Broken)?;
            self.is_complete = frame.is_none() || self.incoming.is_end_stream();
            if let Some(Ok(data)) = frame.map(hyper::body::Frame::into_data) {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
