//! The registry as commands use it: opened by its URL, read in whole kinds, written one `apply` at a time.

mod dry_run;

use std::collections::BTreeMap;

use contract::{CellId, TenantId};
use registry::key::Kind;
use registry::store::Page;
use registry::{
    Actor, AnyStore, Applied, Cell, Command, Host, IfVersion, Link, Open, Placement, Record, Refused,
    Revocation, SetAside, Store as _, StoreError, Tenant, Versioned,
};
use serde_json::json;

use crate::args::registry::{RegistryArgs, WriteArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::Listed;

/// The dev stack's registry, seen from the directory that it was started in.
pub const DEV_REGISTRY: &str = "sqlite:.alphaswarm/registry.db";

/// Rows read at a time: few enough to stay small, many enough to be quick over a million tenants.
const PAGE: u32 = 10_000;

/// An open registry and who writes to it.
pub struct Registry {
    /// The store.
    pub store: AnyStore,
    user: Option<String>,
}

impl Registry {
    /// Opens the registry that the command line, else the environment names.
    pub async fn open(args: &RegistryArgs, environment: &Environment, open: Open) -> Result<Self, Failure> {
        let named = args.registry.as_ref().or(environment.registry_url.as_ref());
        let url = named.map_or(DEV_REGISTRY, String::as_str);
        match AnyStore::open(url, open).await {
            Ok(store) => Ok(Self {
                store,
                user: environment.user.clone(),
            }),
            Err(error) => Err(not_opened(&error, named.is_some())),
        }
    }

    /// Every record of the given kinds. Rows that cannot be read are named on the way and left out.
    pub async fn read(&self, kinds: &[Kind], output: &mut Output<'_>) -> Result<Book, Failure> {
        let book = self.read_quietly(kinds).await?;
        for row in &book.set_aside {
            output.progress(&format!(
                "set aside: {}: {}; repair its row in the database",
                row.record, row.reason
            ))?;
        }
        Ok(book)
    }

    /// As [`Registry::read`], for a caller that shows [`Book::set_aside`] itself.
    pub async fn read_quietly(&self, kinds: &[Kind]) -> Result<Book, Failure> {
        let mut book = Book::default();
        for kind in kinds {
            self.read_kind(*kind, &mut book).await?;
        }
        Ok(book)
    }

    async fn read_kind(&self, kind: Kind, book: &mut Book) -> Result<(), Failure> {
        let mut page = Page {
            limit: PAGE,
            ..Page::default()
        };
        loop {
            let listing = self.store.list(kind, page).await.map_err(unusable)?;
            listing.records.into_iter().for_each(|record| book.take(record));
            book.set_aside.extend(listing.set_aside);
            match listing.next {
                Some(next) => page.after = next,
                None => return Ok(()),
            }
        }
    }

    /// Who signs the change log.
    pub fn actor(&self, named: Option<&str>) -> Result<Actor, Failure> {
        let name = named
            .map(str::to_owned)
            .or_else(|| self.user.as_ref().map(|user| format!("cli:{user}")))
            .or_else(process_owner);
        name.filter(|name| !name.is_empty())
            .map(Actor::new)
            .ok_or_else(|| {
                Failure::configuration(
                    "nobody signs the change log: the name is empty, or USER and /proc are missing",
                )
                .next("name yourself with --actor, or set USER")
            })
    }

    /// One command to the store. The outer error ends the command; the inner one may be worth a second try.
    pub async fn apply(
        &self,
        command: &Command,
        how: &WriteArgs,
    ) -> Result<Result<Applied, Refused>, Failure> {
        let actor = self.actor(how.actor.as_deref())?;
        let condition = how.if_version.map_or(IfVersion::Any, IfVersion::Is);
        Ok(self.store.apply(command, &actor, condition).await)
    }

    /// Carries out a command and says what is so now, in the words of `said`.
    pub async fn write(
        &self,
        command: &Command,
        how: &WriteArgs,
        said: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        if how.dry_run {
            return self.dry_run(command, how, said, output).await;
        }
        let applied = self.apply(command, how).await?.map_err(refused)?;
        say_applied(command, applied, said, output)
    }

    /// As [`Registry::write`], and says what usually comes next.
    pub async fn write_and_hint(
        &self,
        command: &Command,
        how: &WriteArgs,
        said: &str,
        next: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        self.write(command, how, said, output).await?;
        if how.dry_run || output.is_json() {
            Ok(())
        } else {
            output.progress(&format!("next: {next}"))
        }
    }
}

/// Says what a carried-out command made so.
pub fn say_applied(
    command: &Command,
    applied: Applied,
    said: &str,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let value = json!({ "command": command.name(), "changed": applied.changed, "version": applied.version });
    let already = if applied.changed { "" } else { " already" };
    output.result(
        &value,
        &format!("{said}{already} (registry version {})", applied.version),
    )
}

/// What a registry holds of the kinds that were read.
#[derive(Debug, Default)]
pub struct Book {
    /// All cells.
    pub cells: Vec<Listed<Cell>>,
    /// All tenants.
    pub tenants: Vec<Listed<Tenant>>,
    /// All links.
    pub links: Vec<Listed<Link>>,
    /// All placements, by tenant.
    pub placements: BTreeMap<TenantId, Listed<Placement>>,
    /// All hosts.
    pub hosts: Vec<Listed<Host>>,
    /// All revocations.
    pub revocations: Vec<Listed<Revocation>>,
    /// Rows that cannot be read.
    pub set_aside: Vec<SetAside>,
}

impl Book {
    fn take(&mut self, row: Versioned<Record>) {
        let Versioned {
            version,
            at_ms,
            record,
        } = row;
        match record {
            Record::Cell(record) => self.cells.push(
                Versioned {
                    version,
                    at_ms,
                    record,
                }
                .into(),
            ),
            Record::Tenant(record) => self.tenants.push(
                Versioned {
                    version,
                    at_ms,
                    record,
                }
                .into(),
            ),
            Record::Link(record) => self.links.push(
                Versioned {
                    version,
                    at_ms,
                    record,
                }
                .into(),
            ),
            Record::Placement(record) => {
                self.placements.insert(
                    record.tenant.clone(),
                    Versioned {
                        version,
                        at_ms,
                        record,
                    }
                    .into(),
                );
            }
            Record::Host(record) => self.hosts.push(
                Versioned {
                    version,
                    at_ms,
                    record,
                }
                .into(),
            ),
            Record::Revocation(record) => self.revocations.push(
                Versioned {
                    version,
                    at_ms,
                    record,
                }
                .into(),
            ),
        }
    }

    /// One cell.
    pub fn cell(&self, id: &CellId) -> Result<&Listed<Cell>, Failure> {
        self.cells
            .iter()
            .find(|cell| cell.record.id == *id)
            .ok_or_else(|| {
                Failure::failed(format!("cell {id} does not exist"))
                    .next("alphaswarm cells list")
                    .code("not_found")
            })
    }

    /// One tenant.
    pub fn tenant(&self, id: &TenantId) -> Result<&Listed<Tenant>, Failure> {
        self.tenants
            .iter()
            .find(|tenant| tenant.record.id == *id)
            .ok_or_else(|| {
                Failure::failed(format!("tenant {id} does not exist"))
                    .next("alphaswarm tenants list")
                    .code("not_found")
            })
    }

    /// The tenants that live in a cell.
    pub fn tenants_in<'a>(&'a self, cell: &'a CellId) -> impl Iterator<Item = &'a TenantId> {
        self.placements
            .values()
            .map(|listed| &listed.record)
            .filter(|p| p.cell == *cell)
            .map(|p| &p.tenant)
    }
}

/// A refusal as a failure. The registry's own text says what to do next.
#[must_use]
pub fn refused(refusal: Refused) -> Failure {
    let code = match &refusal {
        Refused::NotFound { .. } => "not_found",
        Refused::Conflict { .. } => "conflict",
        Refused::InvalidTransition { .. } => "invalid_transition",
        Refused::StaleVersion { .. } => "stale_version",
        Refused::NotAcknowledged { .. } => "not_acknowledged",
        Refused::StillOpen { .. } => "still_open",
        Refused::Invalid(_) => "invalid",
        Refused::Store(_) => "store",
    };
    Failure::failed(refusal.to_string()).code(code)
}

/// A store that was opened and then failed.
pub fn unusable(error: StoreError) -> Failure {
    Failure::failed(error.to_string()).code("store")
}

fn not_opened(error: &StoreError, named: bool) -> Failure {
    use StoreError as E;
    let failure = match error {
        E::BadUrl(_)
        | E::BadParameter { .. }
        | E::NoDatabase { .. }
        | E::NoDirectory { .. }
        | E::Missing { .. }
        | E::NotADatabase { .. }
        | E::NotARegistry { .. }
        | E::NewerSchema { .. }
        | E::OlderSchema { .. } => Failure::configuration(error.to_string()),
        _ => Failure::failed(error.to_string()),
    };
    match error {
        E::NoDirectory { .. } | E::Missing { .. } if !named => failure.next(
            "start the dev stack here with: alphaswarm up (or name another registry with --registry or REGISTRY_URL)",
        ),
        _ => failure,
    }
    .code("store")
}

/// Containers and cron jobs have no `USER`; the kernel still knows whose process this is.
fn process_owner() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata("/proc/self").ok()?.uid();
    Some(format!("cli:uid-{owner}"))
}
