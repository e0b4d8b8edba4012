//! `alphaswarm registry export` and `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use registry::key::Kind;

/// `alphaswarm registry export`
#[derive(Debug, Args)]
pub struct Export {
    /// How the file is written [default: by its name, else jsonl]
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// Only records of this kind; needed for CSV.
    #[arg(long, value_enum)]
    pub kind: Option<RecordKind>,
    /// The file, or - for stdout.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// `alphaswarm registry import`
#[derive(Debug, Args)]
pub struct Import {
    /// The file, or - for stdin.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How the file is written [default: by its name, else jsonl]
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// What the rows of a CSV file are.
    #[arg(long, value_enum)]
    pub kind: Option<RecordKind>,
    /// Who signs the change log [default: USER, else the process's user id]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Judge every row, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// How a file of records is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// One JSON record a line.
    Jsonl,
    /// A header and one record a row.
    Csv,
}

/// [`Kind`] as the command line spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecordKind {
    /// Cells.
    Cells,
    /// Tenants.
    Tenants,
    /// Identity links.
    Links,
    /// Placements.
    Placements,
    /// Hosts.
    Hosts,
    /// Revocations.
    Revocations,
}

impl From<RecordKind> for Kind {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Cells => Self::Cell,
            RecordKind::Tenants => Self::Tenant,
            RecordKind::Links => Self::Link,
            RecordKind::Placements => Self::Placement,
            RecordKind::Hosts => Self::Host,
            RecordKind::Revocations => Self::Revocation,
        }
    }
}
