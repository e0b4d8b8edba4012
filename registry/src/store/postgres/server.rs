//! Which server: its URL, how it is connected to, and what its errors mean for the operator.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

use super::super::StoreError;
use super::{BUSY, DEADLINE, STATEMENT};

/// Parameters that a URL may have. Others are refused: a misspelt one would be ignored, and a password has no place
/// where it is printed.
const PARAMETERS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host"];

/// A database on a server.
#[derive(Clone)]
pub(super) struct Server {
    options: PgConnectOptions,
    name: String,
}

impl Server {
    /// Reads a URL. Beyond this machine the server must prove who it is, unless `sslmode` says otherwise.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let parameters = || {
            query
                .split('&')
                .filter(|part| !part.is_empty())
                .map(|part| part.split_once('=').map_or(part, |(name, _)| name))
        };
        let bad = || StoreError::BadUrl(format!("{scheme}://…"));
        if !matches!(scheme, "postgres" | "postgresql") || rest.contains('#') {
            return Err(bad());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| bad())?;
        let socket = options
            .get_socket()
            .map(|path| path.display().to_string())
            .or_else(|| {
                options
                    .get_host()
                    .starts_with('/')
                    .then(|| options.get_host().to_owned())
            });
        let place = match &socket {
            Some(path) => path.clone(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let name = format!("postgres://{place}/{database}");
        if let Some(unknown) = parameters().find(|name| !PARAMETERS.contains(name)) {
            // Its value stays untold: it may be a password.
            return Err(StoreError::BadParameter {
                registry: name,
                reason: format!(
                    "the URL has parameter {unknown:?}; known are {}",
                    PARAMETERS.join(", ")
                ),
            });
        }
        let told = parameters().any(|name| name == "sslmode") || std::env::var_os("PGSSLMODE").is_some();
        let options = match socket.is_some() || is_loopback(options.get_host()) || told {
            true => options,
            false => options.ssl_mode(PgSslMode::VerifyFull),
        };
        let options = options.application_name("alphaswarm").disable_statement_logging();
        Ok(Self { options, name })
    }

    #[cfg(test)]
    pub(super) fn ssl_mode(&self) -> String {
        format!("{:?}", self.options.get_ssl_mode())
    }

    /// The URL without user and password.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    fn with_limits(&self, statement: Duration) -> PgConnectOptions {
        let ms = |limit: Duration| limit.as_millis().to_string();
        self.options.clone().options([
            ("statement_timeout", ms(statement)),
            ("lock_timeout", ms(BUSY)),
            // A program that stopped within a transaction stops no others.
            ("idle_in_transaction_session_timeout", ms(DEADLINE)),
            ("synchronous_commit", "on".to_owned()),
        ])
    }

    /// Connects when first used. A connection that the server has closed is noticed before it is used.
    pub(super) fn pool(&self, connections: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BUSY)
            .connect_lazy_with(self.with_limits(STATEMENT))
    }

    /// One lasting connection, to listen on.
    pub(super) fn listening_pool(&self, statement: Duration) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(BUSY)
            .connect_lazy_with(self.with_limits(statement))
    }

    /// One connection, or at once the reason why not: a pool would try until its time is over.
    pub(super) async fn connect(&self, statement: Duration) -> Result<PgConnection, StoreError> {
        let options = self.with_limits(statement);
        match tokio::time::timeout(BUSY, options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.explain(&error)),
            Err(_) => Err(self.unreachable(format!("no answer within {} s", BUSY.as_secs()))),
        }
    }

    pub(super) fn too_late(&self, deadline: Duration) -> StoreError {
        StoreError::Deadline {
            registry: self.name(),
            seconds: deadline.as_secs(),
        }
    }

    pub(super) fn unreachable(&self, reason: String) -> StoreError {
        StoreError::Unreachable {
            registry: self.name(),
            reason,
        }
    }

    pub(super) fn database(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Database {
            registry: self.name(),
            reason: one_line(&reason.to_string()),
        }
    }

    /// What an error means for the operator.
    pub(super) fn explain(&self, error: &sqlx::Error) -> StoreError {
        let registry = self.name();
        let Some(said) = error.as_database_error() else {
            return match error {
                sqlx::Error::PoolTimedOut => self.unreachable(format!(
                    "no connection was free or could be made within {} s",
                    BUSY.as_secs()
                )),
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolClosed => self.unreachable(one_line(&error.to_string())),
                _ => self.database(error),
            };
        };
        let code = said.code().unwrap_or_default();
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        match code.as_ref() {
            // Waited too long for a lock, a deadlock, or transactions that cannot both be.
            "55P03" | "40P01" | "40001" => StoreError::Busy { registry },
            "57014" => self.too_late(STATEMENT),
            "53100" => StoreError::DiskFull { registry },
            "25006" => StoreError::Standby { registry },
            "3D000" => StoreError::NoDatabase { registry },
            // Refused a user; shuts down, was shut down, or starts; too many connections.
            "28000" | "28P01" | "57P01" | "57P02" | "57P03" | "57P05" | "53300" => {
                self.unreachable(one_line(said.message()))
            }
            _ => self.database(format_args!("{} (PostgreSQL {code})", said.message())),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
