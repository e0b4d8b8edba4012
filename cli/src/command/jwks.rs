//! `alphaswarm jwks status`: the keys of the identity providers, as a router has them.

use identity::{KeysFrom, ProviderStatus};
use reqwest::Method;

use super::operator::Asked;
use crate::args::operator::Operator;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Row, Tone};

/// Asks and prints.
pub async fn status(
    args: &Operator,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let asked = Asked::new(args, environment)?;
    let request = asked.request(Method::GET, "/jwks/status")?;
    let providers: Vec<ProviderStatus> = asked.answer(request).await?;
    output.list(&providers, "no identity providers")
}

impl Row for ProviderStatus {
    const COLUMNS: &'static [&'static str] = &[
        "provider",
        "kind",
        "usable",
        "source",
        "age",
        "keys",
        "skipped",
        "fetches",
        "failed",
        "last error",
    ];

    fn fields(&self) -> Vec<Field> {
        let usable = if self.usable {
            Field::toned("yes", Tone::Good)
        } else {
            Field::toned("no", Tone::Bad)
        };
        let source = self.source.map(|source| match source {
            KeysFrom::Network => "network",
            KeysFrom::Disk => "disk",
        });
        let failed: u64 = self.failures.values().sum();
        vec![
            Field::new(self.provider.as_str()),
            Field::new(self.kind.as_str()),
            usable,
            Field::optional(source),
            Field::optional(self.age_seconds.map(|seconds| age(seconds.unsigned_abs()))),
            Field::new(few(&self.keys, " ")),
            if self.skipped.is_empty() {
                Field::optional(None::<String>)
            } else {
                Field::toned(few(&self.skipped, "; "), Tone::Waiting)
            },
            Field::new(self.fetches.to_string()),
            Field::new(failed.to_string()),
            match &self.last_error {
                Some(error) => Field::toned(error, Tone::Bad),
                None => Field::optional(None::<String>),
            },
        ]
    }
}

/// The first of a list that providers write: three of them fit a line, `--json` has all. Nothing in them can move the
/// cursor, turn the writing direction or pass for another column.
fn few(list: &[String], separator: &str) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<String> = list
        .iter()
        .take(SHOWN)
        .map(|text| {
            let plain = |c: char| c == ' ' || c.is_ascii_graphic();
            text.chars()
                .take(60)
                .map(|c| {
                    if plain(c) {
                        c.to_string()
                    } else {
                        c.escape_unicode().to_string()
                    }
                })
                .collect()
        })
        .collect();
    if list.len() > SHOWN {
        shown.push(format!("(+{})", list.len() - SHOWN));
    }
    shown.join(separator)
}

/// `50s`, `12m`, `3h`, `2d`: as much as tells fresh from old.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_columns_say() {
        let status = ProviderStatus {
            provider: "entra".parse().unwrap(),
            kind: identity::ProviderKind::Entra,
            usable: false,
            source: Some(KeysFrom::Disk),
            fetched_at: Some(0),
            age_seconds: Some(100_000),
            keys: vec!["k1".to_owned(), "k2".to_owned()],
            skipped: vec!["key \"k3\": too short".to_owned()],
            fetches: 9,
            failures: [("status".to_owned(), 2), ("deadline".to_owned(), 1)].into(),
            last_error: Some("answered 503".to_owned()),
        };
        let fields = status.fields();
        assert_eq!(fields.len(), ProviderStatus::COLUMNS.len());
        let texts: Vec<&str> = fields.iter().map(Field::text).collect();
        assert_eq!(
            texts,
            [
                "entra",
                "entra",
                "no",
                "disk",
                "27h",
                "k1 k2",
                "key \"k3\": too short",
                "9",
                "3",
                "answered 503"
            ]
        );
        let many: Vec<String> = ["a", "b\u{202e}", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(few(&many, " "), "a b\\u{202e} c (+2)");
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
