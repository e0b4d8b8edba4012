//! `alphaswarm token`: dev tokens, and signatures checked by themselves.

pub mod mint;

pub mod verify;

use std::io::Read as _;
use std::path::Path;

use crate::failure::Failure;

/// The longest token that is read, in bytes: well above what any verifier accepts, so that the verifier refuses it and
/// not we.
const MAX_TOKEN: u64 = 1 << 20;

/// Reads a token from a file, or from stdin when the file is `-`. One line ending after it is not part of it.
pub fn read(file: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_TOKEN).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(MAX_TOKEN).read_to_end(&mut bytes))
    };
    result.map_err(|error| {
        // The name is not repeated: people paste the token itself where its file belongs.
        let name = if file == Path::new("-") {
            "stdin"
        } else {
            "the named file"
        };
        Failure::usage(format!("the token cannot be read from {name}: {error}"))
            .next("name a readable file, or - for stdin")
    })?;
    // Bytes that are no text are no token; the replacement keeps them from becoming one.
    let text = String::from_utf8_lossy(&bytes);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
