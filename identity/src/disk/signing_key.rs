//! The signing key of the moment, for the module in Envoy on the same host: which key, and whether it may sign yet.
//!
//! Only the key that signs now is here; what waits or is retired is the router's own affair. The file is secret (0600), so
//! reading it takes the router's own user, and it is refused when anybody else could have read or written it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use files::OpenError;
use serde::{Deserialize, Serialize};

use crate::assertion::Minter;
use crate::redact::Secret;

const FORMAT: u32 = 1;
/// A key is about a hundred bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// The key as it was read.
#[derive(Debug)]
pub struct SigningKey {
    /// Signs in the router's name.
    pub minter: Minter,
    /// Whether cells can have it. While they cannot, nothing may be signed with it.
    pub signs: bool,
}

/// Why the file is not used. Nothing of it is quoted.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// It cannot be read, or others could have written it.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Others can read it.
    #[error(
        "others may read it (mode {0:o}): if nobody has, chmod 600 it, else delete assertion-keys.json and restart the router"
    )]
    Readable(u32),
    /// It holds no key of this program.
    #[error("damaged; the router writes it anew when it starts")]
    Damaged,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    /// Whose key it is: `iss` of assertions.
    router: String,
    /// Base64.
    pkcs8: String,
    signs: bool,
}

/// Reads the key; `None` if there is no file.
pub fn read(path: &Path) -> Result<Option<SigningKey>, SigningKeyError> {
    let Some(file) = files::open(path)? else {
        return Ok(None);
    };
    let mode = file.metadata().map_err(OpenError::Io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SigningKeyError::Readable(mode));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(OpenError::Io)?;
    let text = Secret::new(text);
    let stored: Stored = serde_json::from_str(text.expose()).map_err(|_| SigningKeyError::Damaged)?;
    if stored.format != FORMAT {
        return Err(SigningKeyError::Damaged);
    }
    let pkcs8 = BASE64_STANDARD
        .decode(&stored.pkcs8)
        .map_err(|_| SigningKeyError::Damaged)?;
    let minter = Minter::from_pkcs8(&stored.router, &pkcs8).map_err(|_| SigningKeyError::Damaged)?;
    Ok(Some(SigningKey {
        minter,
        signs: stored.signs,
    }))
}

/// Replaces the file as a whole, durable before it is visible.
pub fn write(path: &Path, router: &str, pkcs8: &Secret<Vec<u8>>, signs: bool) -> io::Result<()> {
    let stored = Stored {
        format: FORMAT,
        router: router.to_owned(),
        pkcs8: BASE64_STANDARD.encode(pkcs8.expose()),
        signs,
    };
    let text = Secret::new(serde_json::to_vec(&stored)?);
    files::replace(path, |file| file.write_all(text.expose()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_signs_as_the_router() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-key.json");
        assert!(read(&path).unwrap().is_none());
        let pkcs8 = Minter::generate_pkcs8().unwrap();
        let original = Minter::from_pkcs8("router-1", pkcs8.expose()).unwrap();
        for signs in [false, true] {
            write(&path, "router-1", &pkcs8, signs).unwrap();
            let read = read(&path).unwrap().unwrap();
            assert_eq!(read.signs, signs);
            assert_eq!(read.minter.router_id(), "router-1");
            assert_eq!(read.minter.public_jwk(), original.public_jwk());
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_is_exposed_or_damaged_is_refused_without_being_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-key.json");
        let pkcs8 = Minter::generate_pkcs8().unwrap();
        write(&path, "router-1", &pkcs8, true).unwrap();
        for (mode, expected) in [
            (0o640, "others may read"),
            (0o604, "others may read"),
            (0o620, "others may write"),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("pkcs8\":\"", "pkcs8\":\"AA"),
            good.replace("\"signs\":true", "\"signs\":true,\"more\":1"),
        ] {
            fs::write(&path, &bad).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, SigningKeyError::Damaged), "{error}");
            assert!(!error.to_string().contains("pkcs8"));
        }
    }
}
