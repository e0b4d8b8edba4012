//! What is about the file: everything that can be wrong with it, and another one in its place.

mod files;
mod following;

use tempfile::TempDir;

use super::*;
use crate::store::tests::{Database, Registry, add_tenant, beat, file_url, until};
