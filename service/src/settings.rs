//! The settings of a server: what only a program with sockets, a log and a registry to follow has, beside the variables
//! that everybody reads (the crate `settings`, which is here under this name, too).

use std::path::{Path, PathBuf};

use registry::upstream::{Access, Address};
use tracing_subscriber::EnvFilter;

use crate::tls::{Clients, ServerTls, TlsFiles};

pub use ::settings::{
    ConfigErrors, EXIT_CONFIG, Lookup, Process, Settings, Variable, duration, help, print, variable,
};

/// What a server reads besides.
pub trait ServerSettings {
    /// The three files of mTLS: all or none.
    fn tls(&mut self, clients: Clients) -> Option<TlsFiles>;

    /// The log's filter and whether it is JSON.
    fn log(&mut self) -> (String, bool);

    /// `REGISTRY_URL` of a database.
    fn registry_url(&mut self) -> Option<String>;

    /// `REGISTRY_URL` of a database or a feed, and what a feed needs.
    fn registry_address(&mut self) -> Option<Address>;
}

impl<L: Lookup> ServerSettings for Settings<'_, L> {
    fn tls(&mut self, clients: Clients) -> Option<TlsFiles> {
        const NAMES: [&str; 3] = [
            "ALPHASWARM_TLS_CERT",
            "ALPHASWARM_TLS_KEY",
            "ALPHASWARM_TLS_CLIENT_CA",
        ];
        match NAMES.map(|name| self.get(name).map(PathBuf::from)) {
            [None, None, None] => None,
            [Some(certificate), Some(key), Some(client_ca)] => {
                let files = TlsFiles {
                    certificate,
                    key,
                    client_ca,
                    clients,
                };
                if let Err(error) = ServerTls::load(files.clone()) {
                    self.error(format!(
                        "ALPHASWARM_TLS_CERT, ALPHASWARM_TLS_KEY, ALPHASWARM_TLS_CLIENT_CA: {error}"
                    ));
                }
                Some(files)
            }
            set => {
                for (name, value) in NAMES.iter().zip(set) {
                    if value.is_none() {
                        self.error(format!(
                            "{name}: missing; mTLS needs all three of {}",
                            NAMES.join(", ")
                        ));
                    }
                }
                None
            }
        }
    }

    fn log(&mut self) -> (String, bool) {
        let filter = self.get("ALPHASWARM_LOG").unwrap_or_else(|| "info".to_owned());
        if let Err(error) = EnvFilter::try_new(&filter) {
            self.error(format!("ALPHASWARM_LOG: {filter:?} is no log filter: {error}"));
        }
        let json = self.choice("ALPHASWARM_LOG_FORMAT", &[("json", true), ("text", false)]);
        (filter, json)
    }

    fn registry_url(&mut self) -> Option<String> {
        let url = registry_named(self)?;
        good_registry(self, registry::AnyStore::check(&url)).then_some(url)
    }

    fn registry_address(&mut self) -> Option<Address> {
        let url = registry_named(self)?;
        let file = |name| self.get(name).map(PathBuf::from);
        let (token, authorities) = (file("REGISTRY_TOKEN_FILE"), file("REGISTRY_CA_FILE"));
        let certificate = match (file("REGISTRY_CERT"), file("REGISTRY_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                self.error("REGISTRY_CERT, REGISTRY_KEY: a client certificate needs both");
                None
            }
        };
        let address = Address {
            url,
            access: Access {
                token,
                authorities,
                certificate,
            },
        };
        good_registry(self, address.check()).then_some(address)
    }
}

fn registry_named<L: Lookup>(settings: &mut Settings<'_, L>) -> Option<String> {
    let url = settings.get("REGISTRY_URL");
    if url.is_none() {
        settings.error("REGISTRY_URL: missing; for example sqlite:/var/lib/alphaswarm/registry.db");
    }
    url
}

fn good_registry<L: Lookup>(
    settings: &mut Settings<'_, L>,
    checked: Result<(), registry::StoreError>,
) -> bool {
    if let Err(error) = &checked {
        settings.error(format!("REGISTRY_URL: {error}"));
    }
    checked.is_ok()
}

/// Creates `dir` for us alone. One that others may write to is refused: whoever can plant keys there can sign tokens.
pub fn create_private_dir(dir: &Path) -> Result<(), String> {
    files::create_directory(dir).map_err(|error| error.to_string())?;
    match files::check_directory(dir) {
        Err(files::OpenError::WritableByOthers) => Err("others may write to it: chmod 700".to_owned()),
        checked => checked.map_err(|error| error.to_string()),
    }
}
