//! What a machine cannot run is named, not passed over in silence.

use std::io::Write as _;

use crate::place;

/// Skips a test by name; in CI that is a failure.
///
/// # Panics
/// With `CI=true`.
pub fn skip(test: &str, missing: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test}: {missing}"
    );
    // The last lines of `make test` repeat it.
    let append = || -> anyhow::Result<()> {
        let list = place::repository()?.join("target/skipped");
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list)?;
        Ok(writeln!(list, "{test}: {missing}")?)
    };
    let noted = append();
    assert!(
        noted.is_ok(),
        "{test} is skipped, and that cannot be noted: {noted:?}"
    );
}
