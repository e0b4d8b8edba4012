//! Which trace a request belongs to: W3C trace context, level 1. The header may hold whatever a client wrote. One that
//! does not follow the grammar counts as absent, as the recommendation has it, and is never a reason to refuse a request.
//!
//! `tracestate` is not read: a span of ours needs nothing of it, and it may hold any text.

use opentelemetry::{SpanId, TraceId};

/// The header, also as gRPC metadata.
pub const TRACEPARENT: &str = "traceparent";

/// `00-<32 hex>-<16 hex>-<2 hex>`; later versions may say more behind another dash.
const LENGTH: usize = 55;
/// Where the sampled bit is: in the last digit of the flags.
const FLAG: usize = LENGTH - 1;

/// A request's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub parent: SpanId,
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads the header's value.
    #[must_use]
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(traceparent).ok()?;
        let (known, later) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
        if parts.next().is_some() || lengths != [2, 32, 16, 2] {
            return None;
        }
        let more = version != "00" && later.starts_with('-');
        if version == "ff" || !(later.is_empty() || more) {
            return None;
        }
        hex(version)?;
        let trace = hex(trace)?;
        let parent = u64::try_from(hex(parent)?).ok()?;
        let flags = hex(flags)?;
        (trace != 0 && parent != 0).then(|| Self {
            trace: TraceId::from_bytes(trace.to_be_bytes()),
            parent: SpanId::from_bytes(parent.to_be_bytes()),
            sampled: flags & 1 == 1,
        })
    }

    /// Whether the header, if it is well-formed, says that the trace is recorded: one look at one byte, because nearly
    /// all of them say that it is not.
    pub(super) fn may_be_sampled(traceparent: &[u8]) -> bool {
        traceparent
            .get(FLAG)
            .and_then(|digit| char::from(*digit).to_digit(16))
            .is_some_and(|flags| flags & 1 == 1)
    }
}

/// Lower-case hexadecimal digits, at most 32.
fn hex(digits: &str) -> Option<u128> {
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain {
        u128::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}
