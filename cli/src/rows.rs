//! How each registry record looks in a listing. JSON is the record itself with the version and time of its last
//! change beside it; tables show what an operator scans for.

use jiff::Timestamp;
use registry::{
    Cell, CellState, Change, Drain, Heartbeat, Host, Link, LinkState, Phase, Placement, Record, Revocation,
    SetAside, Tenant, TenantState, Version, Versioned,
};
use serde::Serialize;

use crate::output::{Field, Row, Tone};

/// A record with its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// The record.
    #[serde(flatten)]
    pub record: T,
    /// The version that wrote it last: what `--if-version` compares.
    pub version: Version,
    /// When that was.
    pub changed_at: Timestamp,
}

impl<T> From<Versioned<T>> for Listed<T> {
    fn from(versioned: Versioned<T>) -> Self {
        Self {
            record: versioned.record,
            version: versioned.version,
            changed_at: time(versioned.at_ms),
        }
    }
}

/// A cell and how many tenants it holds.
#[derive(Clone, Debug, Serialize)]
pub struct CellLine {
    /// The cell.
    #[serde(flatten)]
    pub cell: Listed<Cell>,
    /// Tenants placed in it.
    pub tenants: usize,
}

/// A tenant and where it lives.
#[derive(Clone, Debug, Serialize)]
pub struct TenantLine {
    /// The tenant.
    #[serde(flatten)]
    pub tenant: Listed<Tenant>,
    /// Its cell; `null` for a tenant that was never placed.
    pub placement: Option<Listed<Placement>>,
}

/// A router of the fleet.
#[derive(Clone, Debug, Serialize)]
pub struct RouterLine {
    /// Its id.
    pub router: String,
    /// Whether it counts: moves and activations wait for live routers only.
    pub live: bool,
    /// The registry version it decides by.
    pub version: Version,
    /// Writes that it has not applied yet; `null` across epochs.
    pub behind: Option<u64>,
    /// The oldest version among its Envoys; `null` when none is connected.
    pub envoys: Option<Version>,
    /// Public assertion keys it announces.
    pub keys: usize,
    /// When it was last heard of.
    pub seen_at: Timestamp,
}

impl RouterLine {
    /// A router's line, judged at `now_ms` against the registry's version.
    #[must_use]
    pub fn new(beat: &Heartbeat, registry: Version, now_ms: i64) -> Self {
        let same_epoch = beat.version.epoch == registry.epoch;
        Self {
            router: beat.router.clone(),
            live: beat.is_live(now_ms),
            version: beat.version,
            behind: same_epoch.then(|| registry.number.saturating_sub(beat.version.number)),
            envoys: beat.xds,
            keys: beat.keys.len(),
            seen_at: time(beat.at_ms),
        }
    }
}

/// Milliseconds since 1970 as a time; a time that no calendar has becomes its beginning.
#[must_use]
pub fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Times in tables have seconds: more is noise to people, and JSON has it all.
#[must_use]
pub fn when(at: Timestamp) -> Field {
    Field::toned(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), Tone::Faint)
}

fn version(version: Version) -> Field {
    Field::toned(version.to_string(), Tone::Faint)
}

/// The state, in its colour.
#[must_use]
pub fn cell_state(state: CellState) -> Field {
    match state {
        CellState::Provisioning => Field::toned("provisioning", Tone::Waiting),
        CellState::Active => Field::toned("active", Tone::Good),
        CellState::Draining => Field::toned("draining", Tone::Waiting),
        CellState::Retired => Field::toned("retired", Tone::Faint),
    }
}

/// The state, in its colour.
#[must_use]
pub fn tenant_state(state: TenantState) -> Field {
    match state {
        TenantState::Pending => Field::toned("pending", Tone::Waiting),
        TenantState::Active => Field::toned("active", Tone::Good),
        TenantState::Suspended => Field::toned("suspended", Tone::Bad),
    }
}

/// The state, in its colour.
#[must_use]
pub fn link_state(state: LinkState) -> Field {
    match state {
        LinkState::Pending => Field::toned("pending", Tone::Waiting),
        LinkState::Active => Field::toned("active", Tone::Good),
        LinkState::Revoked => Field::toned("revoked", Tone::Bad),
    }
}

/// The phase's name.
#[must_use]
pub const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Settled => "settled",
        Phase::Planned => "planned",
        Phase::Draining => "draining",
        Phase::Flipped => "flipped",
    }
}

/// Where a move stands, in its colour: `draining → cell-b`, `draining read-only → cell-b`.
#[must_use]
pub fn phase(placement: &Placement) -> Field {
    let name = match (placement.phase, placement.drain) {
        (Phase::Draining, Drain::ReadOnly) => "draining read-only",
        (phase, _) => phase_name(phase),
    };
    match (placement.phase, &placement.target, &placement.previous) {
        (Phase::Settled, ..) => Field::new("settled"),
        (_, Some(target), _) => Field::toned(format!("{name} → {target}"), Tone::Waiting),
        (_, None, Some(from)) => Field::toned(format!("{name} from {from}"), Tone::Waiting),
        (_, None, None) => Field::toned(name, Tone::Waiting),
    }
}

impl Row for CellLine {
    const COLUMNS: &'static [&'static str] = &[
        "cell",
        "state",
        "tier",
        "region",
        "tenants",
        "endpoints",
        "runtime",
        "health",
        "version",
    ];

    fn fields(&self) -> Vec<Field> {
        let cell = &self.cell.record;
        let tenants = match cell.capacity {
            Some(capacity) => format!("{}/{capacity}", self.tenants),
            None => self.tenants.to_string(),
        };
        vec![
            Field::new(cell.id.as_str()),
            cell_state(cell.state),
            Field::new(&cell.tier),
            Field::new(&cell.region),
            Field::new(tenants),
            Field::new(cell.endpoints.join(" ")),
            Field::optional(cell.runtime.as_ref()),
            Field::optional(cell.health_path.as_ref()),
            version(self.cell.version),
        ]
    }
}

impl Row for TenantLine {
    const COLUMNS: &'static [&'static str] = &["tenant", "state", "cell", "epoch", "move", "name", "version"];

    fn fields(&self) -> Vec<Field> {
        let tenant = &self.tenant.record;
        let placement = self.placement.as_ref().map(|listed| &listed.record);
        vec![
            Field::new(tenant.id.as_str()),
            tenant_state(tenant.state),
            Field::optional(placement.map(|placement| &placement.cell)),
            Field::optional(placement.map(|placement| placement.epoch)),
            placement.map_or_else(|| Field::optional(None::<&str>), phase),
            Field::new(&tenant.name),
            version(self.tenant.version),
        ]
    }
}

impl Row for Listed<Link> {
    const COLUMNS: &'static [&'static str] =
        &["provider", "kind", "external id", "tenant", "state", "version"];

    fn fields(&self) -> Vec<Field> {
        let link = &self.record;
        vec![
            Field::new(link.provider.as_str()),
            Field::new(link.kind.as_str()),
            Field::new(&link.external_id),
            Field::new(link.tenant.as_str()),
            link_state(link.state),
            version(self.version),
        ]
    }
}

impl Row for Listed<Host> {
    const COLUMNS: &'static [&'static str] = &["host", "tenant", "version"];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new(&self.record.host),
            Field::new(self.record.tenant.as_str()),
            version(self.version),
        ]
    }
}

impl Row for Listed<Revocation> {
    const COLUMNS: &'static [&'static str] = &["provider", "tokens", "issued before", "version"];

    fn fields(&self) -> Vec<Field> {
        let revocation = &self.record;
        let tokens = match (&revocation.subject, &revocation.token_id) {
            (_, Some(token_id)) => format!("token {token_id}"),
            (Some(subject), None) => format!("subject {subject}"),
            (None, None) => "all".to_owned(),
        };
        let before = Timestamp::from_second(revocation.not_before);
        vec![
            Field::new(revocation.provider.as_str()),
            Field::new(tokens),
            // A time outside the calendar is in no clock's reach: it revokes everything, or nothing.
            before.map_or_else(|_| Field::new(revocation.not_before.to_string()), when),
            version(self.version),
        ]
    }
}

impl Row for RouterLine {
    const COLUMNS: &'static [&'static str] =
        &["router", "state", "version", "behind", "envoys", "keys", "seen"];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new(&self.router),
            if self.live {
                Field::toned("live", Tone::Good)
            } else {
                Field::toned("silent", Tone::Bad)
            },
            Field::new(self.version.to_string()),
            match self.behind {
                Some(0) => Field::new("0"),
                Some(behind) => Field::toned(behind.to_string(), Tone::Waiting),
                None => Field::toned("other epoch", Tone::Waiting),
            },
            Field::optional(self.envoys),
            Field::new(self.keys.to_string()),
            when(self.seen_at),
        ]
    }
}

impl Row for SetAside {
    const COLUMNS: &'static [&'static str] = &["record", "why it is set aside"];

    fn fields(&self) -> Vec<Field> {
        vec![Field::toned(&self.record, Tone::Bad), Field::new(&self.reason)]
    }
}

impl Row for Change {
    const COLUMNS: &'static [&'static str] = &["version", "when", "who", "command", "what"];

    fn fields(&self) -> Vec<Field> {
        let keys = self
            .after
            .iter()
            .chain(&self.before)
            .map(Record::key)
            .chain(self.touched.iter().cloned());
        let mut names: Vec<String> = keys.map(|key| key.to_string()).collect();
        names.dedup();
        vec![
            Field::new(self.version.to_string()),
            when(time(self.at_ms)),
            Field::new(&self.actor),
            Field::new(&self.action),
            Field::new(summary(&names, &self.after)),
        ]
    }
}

/// The records, and for the usual single one what it became.
fn summary(names: &[String], after: &[Record]) -> String {
    let became = match after {
        [Record::Cell(cell)] => format!(": {}", cell_state(cell.state).text()),
        [Record::Tenant(tenant)] => format!(": {}", tenant_state(tenant.state).text()),
        [Record::Link(link)] => format!(": {} for {}", link_state(link.state).text(), link.tenant),
        [Record::Placement(placement)] => {
            format!(
                ": {} in {}, epoch {}",
                phase(placement).text(),
                placement.cell,
                placement.epoch
            )
        }
        [Record::Host(host)] => format!(": {}", host.tenant),
        [Record::Revocation(_)] | [] | [_, _, ..] => String::new(),
    };
    format!("{}{became}", names.join(", "))
}
