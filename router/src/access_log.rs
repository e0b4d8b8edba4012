//! Envoy's access-log service, for streams that live long: Envoy's configuration sends an entry for a stream every two
//! seconds from its second on, and one when such a stream ends. Nothing is written down; [`Streams`] counts.
//!
//! An entry also carries the path, addresses and user agent: only the fields below are looked at, and nothing of an entry
//! is logged. A request that Envoy refuses before its headers are cleaned could name any tenant; it never has a cluster.

use std::sync::Arc;
use std::time::Instant;

use contract::header;
use envoy_types::pb::envoy::data::accesslog::v3::{AccessLogType, HttpAccessLogEntry};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use prometheus_client::metrics::counter::Counter;
use service::drain::Shutdown;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::streams::{Sighting, Streams};

/// The gRPC service for the control listener.
pub type Service = AccessLogServiceServer<AccessLog>;

/// Most logs at one router: each worker thread of each Envoy sends one.
const MAX_LOGS: usize = 4_096;
/// Envoy sends entries in batches of 16 KiB; the first message adds its node description (about 50 KB).
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// A stream's id is Envoy's request id, a UUID.
const MAX_ID_BYTES: usize = 64;

/// See the module.
pub struct AccessLog {
    streams: Arc<Streams>,
    uncounted: Counter,
    logs: Arc<Semaphore>,
    stopping: Shutdown,
}

/// The service, which notes in `streams` what Envoys say, counts in `uncounted` what did not fit, and ends every log once
/// `stopping`: they never end by themselves.
#[must_use]
pub fn service(streams: Arc<Streams>, uncounted: Counter, stopping: Shutdown) -> Service {
    let log = AccessLog {
        streams,
        uncounted,
        logs: Arc::new(Semaphore::new(MAX_LOGS)),
        stopping,
    };
    Service::new(log).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

#[tonic::async_trait]
impl AccessLogService for AccessLog {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let _counted = Arc::clone(&self.logs)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many access logs at this router"))?;
        let mut messages = request.into_inner();
        let mut stopping = std::pin::pin!(self.stopping.clone().fired());
        loop {
            let message = tokio::select! {
                message = messages.message() => message,
                () = &mut stopping => return Err(Status::unavailable("the router drains")),
            };
            match message {
                Ok(Some(message)) => self.note(message),
                Ok(None) => return Ok(Response::new(StreamAccessLogsResponse {})),
                // A reset connection, which is how Envoys leave.
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "an Envoy's access log broke");
                    return Err(status);
                }
            }
        }
    }
}

impl AccessLog {
    fn note(&self, message: StreamAccessLogsMessage) {
        let Some(LogEntries::HttpLogs(entries)) = message.log_entries else {
            return;
        };
        let now = Instant::now();
        for sighting in entries.log_entry.iter().filter_map(sighting) {
            if !self.streams.note(sighting, now) {
                self.uncounted.inc();
            }
        }
    }
}

/// What an entry says about a stream to a cell; `None` for one that says nothing of that kind.
fn sighting(entry: &HttpAccessLogEntry) -> Option<Sighting> {
    let common = entry.common_properties.as_ref()?;
    let open = match common.access_log_type() {
        AccessLogType::DownstreamPeriodic => true,
        AccessLogType::DownstreamEnd => false,
        _ => return None,
    };
    let headers = &entry.request.as_ref()?.request_headers;
    let id = common.stream_id.as_str();
    let sent = !common.upstream_cluster.is_empty();
    (sent && !id.is_empty() && id.len() <= MAX_ID_BYTES).then_some(())?;
    Some(Sighting {
        tenant: headers.get(header::TENANT)?.parse().ok()?,
        cell: headers.get(header::CELL)?.parse().ok()?,
        id: id.into(),
        open,
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::data::accesslog::v3::{AccessLogCommon, HttpRequestProperties};

    use super::*;

    fn entry(kind: AccessLogType, id: &str, headers: &[(&str, &str)]) -> HttpAccessLogEntry {
        let common = AccessLogCommon {
            stream_id: id.to_owned(),
            access_log_type: kind.into(),
            upstream_cluster: "cell/cell-a".into(),
            ..AccessLogCommon::default()
        };
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        HttpAccessLogEntry {
            common_properties: Some(common),
            request: Some(HttpRequestProperties {
                request_headers: headers.collect(),
                ..HttpRequestProperties::default()
            }),
            ..HttpAccessLogEntry::default()
        }
    }

    const PLACED: [(&str, &str); 2] = [("x-alphaswarm-tenant", "acme"), ("x-alphaswarm-cell", "cell-a")];

    #[test]
    fn periodic_entries_are_open_streams_and_final_ones_ended() {
        for (kind, open) in [
            (AccessLogType::DownstreamPeriodic, true),
            (AccessLogType::DownstreamEnd, false),
        ] {
            let expected = Sighting {
                tenant: "acme".parse().unwrap(),
                cell: "cell-a".parse().unwrap(),
                id: "1f".into(),
                open,
            };
            assert_eq!(sighting(&entry(kind, "1f", &PLACED)), Some(expected));
        }
    }

    #[test]
    fn what_names_no_stream_to_a_cell_is_passed_over() {
        let periodic = AccessLogType::DownstreamPeriodic;
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for (kind, id, headers) in [
            (AccessLogType::DownstreamStart, "1f", &PLACED[..]),
            (AccessLogType::NotSet, "1f", &PLACED),
            (periodic, "", &PLACED),
            (periodic, &long, &PLACED),
            (periodic, "1f", &PLACED[..1]),
            (periodic, "1f", &PLACED[1..]),
            (periodic, "1f", &[("x-alphaswarm-tenant", "A B"), PLACED[1]]),
            (periodic, "1f", &[PLACED[0], ("x-alphaswarm-cell", "-")]),
        ] {
            assert_eq!(
                sighting(&entry(kind, id, headers)),
                None,
                "{kind:?} {id} {headers:?}"
            );
        }
        assert_eq!(sighting(&HttpAccessLogEntry::default()), None);
        let mut refused = entry(periodic, "1f", &PLACED);
        refused
            .common_properties
            .as_mut()
            .unwrap()
            .upstream_cluster
            .clear();
        assert_eq!(sighting(&refused), None, "never sent to a cell");
    }
}
