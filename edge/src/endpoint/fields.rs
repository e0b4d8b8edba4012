//! What several endpoints take: name, type (with `?` where it may be left out), what it is.

/// Members of a body or of a query.
pub(super) type Fields = &'static [(&'static str, &'static str, &'static str)];

pub(super) const CELL: Fields = &[
    ("id", "string", "its id; with PUT, as in the path"),
    ("tier", "string", "what it costs and promises: std, pro"),
    ("region", "string", "where it stands"),
    ("endpoints", "array", "host:port of each entry"),
    ("tls", "boolean?", "whether Envoy speaks TLS to it"),
    (
        "weight",
        "integer?",
        "its share when tenants are placed; 0 takes none, 100 when absent",
    ),
    ("capacity", "integer?", "most tenants it may hold"),
    ("runtime", "string?", "base URL of its workload runtime"),
    (
        "health_path",
        "string?",
        "what Envoy asks its endpoints for; 2xx says that they serve",
    ),
];
pub(super) const TENANT: Fields = &[
    ("id", "string", "its id; with PUT, as in the path"),
    ("name", "string", "for people"),
    ("requests_per_second", "integer?", "what one router admits"),
    ("tier", "string?", "only cells of this tier are chosen for it"),
    ("region", "string?", "only cells of this region are chosen for it"),
    ("apart", "string?", "a group whose members share no cell"),
    (
        "drain",
        "string?",
        "refuse (when absent) or read_only: what becomes of its requests while a move drains",
    ),
];
pub(super) const EXPORT: Fields = &[
    ("format", "string?", "jsonl or csv; jsonl when absent"),
    ("kind", "string?", "only records of this kind; needed for csv"),
];
pub(super) const IMPORT: Fields = &[
    ("format", "string?", "jsonl or csv; jsonl when absent"),
    ("kind", "string?", "what the rows of a CSV file are"),
    ("dry_run", "boolean?", "judge every row, write nothing"),
];
pub(super) const STATE: Fields = &[("state", "string", "what it becomes")];
pub(super) const PAGE: Fields = &[
    (
        "after",
        "integer?",
        "where the page begins; from the Link header of the page before",
    ),
    (
        "limit",
        "integer?",
        "at most so many, up to 1000; 100 when absent",
    ),
];
pub(super) const TENANTS: Fields = &[
    ("after", "integer?", "where the page begins"),
    (
        "limit",
        "integer?",
        "at most so many, up to 1000; 100 when absent",
    ),
    ("state", "string?", "only those in this state"),
];
pub(super) const LINKS: Fields = &[
    ("after", "integer?", "where the page begins"),
    (
        "limit",
        "integer?",
        "at most so many, up to 1000; 100 when absent",
    ),
    ("provider", "string?", "only those of this provider"),
    ("tenant", "string?", "only those of this tenant"),
    ("state", "string?", "only those in this state"),
];
pub(super) const MOVES: Fields = &[
    ("after", "integer?", "where the page begins"),
    (
        "limit",
        "integer?",
        "at most so many, up to 1000; 100 when absent",
    ),
    ("phase", "string?", "only those in this phase"),
];
const DRAIN: (&str, &str, &str) = (
    "drain",
    "string?",
    "refuse: all requests get 503; read_only: reads are served until nothing that may write is open; else as the tenant \
     says",
);
pub(super) const MOVE: Fields = &[
    ("tenant", "string", "who"),
    ("to", "string", "an active cell"),
    (
        "mover",
        "string?",
        "control_plane (when absent) carries it on by itself; operator: each step is asked for",
    ),
    (
        "old_cell_is_dead",
        "boolean?",
        "your word that nothing runs in the old cell: it is not asked",
    ),
    DRAIN,
];
pub(super) const EVACUATION: Fields = &[
    ("to", "string?", "the active cell that takes all"),
    (
        "spread",
        "boolean?",
        "or: the active cells of the same tier, by weight and free capacity",
    ),
    (
        "dead",
        "boolean?",
        "your word that nothing runs in the cell: it is not asked",
    ),
    DRAIN,
    (
        "limit",
        "integer?",
        "at most so many moves are planned, up to 5000; 500 when absent",
    ),
];
