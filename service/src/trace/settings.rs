//! The standard variables of OpenTelemetry, as far as they are read here.

use crate::settings::{Lookup, Settings, Variable, variable};

/// `OTEL_EXPORTER_OTLP_ENDPOINT`.
pub const ENDPOINT: Variable = variable(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "where traces go, OTLP over gRPC, for example http://127.0.0.1:4317 (OTEL_EXPORTER_OTLP_HEADERS go with them); unset: \
     there are none",
);
/// `OTEL_TRACES_SAMPLER_ARG`.
pub const SAMPLER_ARG: Variable = variable(
    "OTEL_TRACES_SAMPLER_ARG",
    "0",
    "share, 0 to 1, of the requests without a trace context that begin a trace; those with one follow its sampled flag",
);
/// `OTEL_SERVICE_NAME`.
pub const SERVICE_NAME: Variable = variable(
    "OTEL_SERVICE_NAME",
    "",
    "this program's name in traces; unset: its own",
);

/// Where spans go, and which requests begin a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// The receiver's base address.
    pub endpoint: String,
    /// The share of requests without a trace context that begin a trace.
    pub roots: f64,
    /// The program's name in traces.
    pub service: String,
}

impl TraceSettings {
    /// Reads the variables; `None` where nothing is to be traced, or an error was noted.
    pub fn read<L: Lookup>(settings: &mut Settings<'_, L>, program: &str) -> Option<Self> {
        let roots = share(settings);
        let endpoint = settings.get(ENDPOINT.name)?;
        match check(&endpoint) {
            Ok(()) => Some(Self {
                endpoint,
                roots: roots?,
                service: settings
                    .get(SERVICE_NAME.name)
                    .unwrap_or_else(|| program.to_owned()),
            }),
            Err(why) => {
                // Not the value: it may hold a password.
                settings.error(format!("{}: {why}", ENDPOINT.name));
                None
            }
        }
    }
}

fn share<L: Lookup>(settings: &mut Settings<'_, L>) -> Option<f64> {
    let text = settings
        .get(SAMPLER_ARG.name)
        .unwrap_or_else(|| SAMPLER_ARG.default.to_owned());
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    if share.is_none() {
        settings.error(format!(
            "{}: {text:?} is no share from 0 to 1, such as 0.01",
            SAMPLER_ARG.name
        ));
    }
    share
}

fn check(endpoint: &str) -> Result<(), &'static str> {
    let uri: http::Uri = endpoint
        .parse()
        .map_err(|_| "no address such as http://127.0.0.1:4317")?;
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    match uri.scheme_str() {
        Some("http") if authority.contains('@') => Err("an address has no user or password in it"),
        Some("http") if !authority.is_empty() => Ok(()),
        Some("https") => Err(
            "https is not spoken here: send to a collector on this host over http, and let it speak TLS onwards",
        ),
        _ => Err("no address such as http://127.0.0.1:4317"),
    }
}
