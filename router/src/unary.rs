//! One call of gRPC with one message each way, over HTTP/2: a byte that says whether the message is compressed, four of
//! length, the message; and a trailer that says that it was all. tonic does the same for every shape of call, and a check
//! pays for all of them (ADR 0024 has the figures).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tonic::Status;

/// The bytes before a message.
const PREFIX: usize = 5;
/// A message that comes in pieces has so long to arrive. Whoever asks waits a fraction of it.
const ARRIVES: Duration = Duration::from_secs(1);

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// The message of a call, of `longest` bytes at most.
pub(crate) async fn message<B: Body<Data = Bytes> + Unpin>(body: B, longest: usize) -> Result<Bytes, Status> {
    let whole = tokio::time::timeout(ARRIVES, whole(body, PREFIX + longest)).await;
    let mut message = whole.map_err(|_| Status::deadline_exceeded("the message does not arrive"))??;
    if message.len() < PREFIX {
        return Err(Status::internal("no message"));
    }
    let prefix = message.split_to(PREFIX);
    match prefix.split_first() {
        Some((0, length)) if length == length_of(message.len()) => Ok(message),
        Some((0, _)) => Err(Status::internal("not one message")),
        _ => Err(Status::unimplemented("no compression was agreed on")),
    }
}

async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B, longest: usize) -> Result<Bytes, Status> {
    let mut message = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the call ended"))?;
        let Ok(piece) = frame.into_data() else {
            break; // trailers, which are last
        };
        if message.len() + piece.len() > longest {
            return Err(Status::resource_exhausted("the message is too long"));
        }
        if message.is_empty() {
            message = piece;
        } else {
            let mut longer = BytesMut::from(message);
            longer.extend_from_slice(&piece);
            message = longer.freeze();
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(message)
}

fn length_of(message: usize) -> [u8; 4] {
    // Nobody makes a message of 4 GiB; one that claimed to be shorter than it is would be refused.
    u32::try_from(message).unwrap_or_default().to_be_bytes()
}

/// A message of `length` bytes behind its prefix, as `write` writes it.
pub(crate) fn framed(length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_slice(&length_of(length));
    write(&mut frame);
    debug_assert_eq!(frame.len(), PREFIX + length, "the length was known beforehand");
    frame.into()
}

/// The message in a frame of ours.
#[cfg(test)]
pub(crate) fn message_in(frame: &[u8]) -> &[u8] {
    frame.get(PREFIX..).unwrap_or_default()
}

/// The answer to a call: a frame, and that all is well.
pub(crate) fn answer(frame: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer {
        frame: Some(frame),
        trailers: true,
    });
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// What an answered call sends.
#[derive(Debug, Default)]
pub struct Answer {
    frame: Option<Bytes>,
    trailers: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frame.take() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if std::mem::take(&mut self.trailers) {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(STATUS, OK);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    /// A call that failed has only headers.
    fn is_end_stream(&self) -> bool {
        self.frame.is_none() && !self.trailers
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;

    async fn of(pieces: &[&[u8]], longest: usize) -> Result<Bytes, Code> {
        let frames = pieces.iter().map(|piece| {
            let piece = Bytes::copy_from_slice(piece);
            Ok::<_, Infallible>(Frame::data(piece))
        });
        let body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>()));
        message(body, longest).await.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_message_arrives_whole_or_in_pieces() {
        assert_eq!(of(&[b"\0\0\0\0\x03abc"], 3).await.unwrap(), "abc");
        assert_eq!(of(&[b"\0\0", b"", b"\0\0\x03a", b"bc"], 3).await.unwrap(), "abc");
        assert_eq!(of(&[b"\0\0\0\0\0"], 3).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_is_not_one_plain_message_is_refused() {
        for (pieces, code) in [
            (&[b"" as &[u8]] as &[&[u8]], Code::Internal),
            (&[b"\0\0\0\0"], Code::Internal),
            (&[b"\0\0\0\0\x03ab"], Code::Internal),
            (&[b"\0\0\0\0\x01ab"], Code::Internal),
            (&[b"\x01\0\0\0\x02ab"], Code::Unimplemented),
            (&[b"\0\0\0\0\x04abcd"], Code::ResourceExhausted),
            (&[b"\0\0\0\0\x04ab", b"cd"], Code::ResourceExhausted),
        ] {
            assert_eq!(of(pieces, 3).await, Err(code), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_message_that_trickles_in_is_not_waited_for() {
        let begins = stream::iter([Ok(Frame::data(Bytes::from_static(b"\0")))]);
        let body = StreamBody::new(begins.chain(stream::pending::<Result<_, Infallible>>()));
        assert_eq!(message(body, 3).await.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn an_answer_is_its_frame_and_the_trailer() {
        let response = answer(framed(3, |out| out.extend_from_slice(b"abc")));
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()[STATUS], "0");
        let bytes = collected.to_bytes();
        assert_eq!(bytes, &b"\0\0\0\0\x03abc"[..]);
        assert_eq!(message_in(&bytes), b"abc");
    }
}
