//! Settings: documented variables, read once from an injected environment; every error is reported at once, by variable.
//!
//! Programs read them from their environment, the module inside Envoy from its filter's configuration, under the same
//! names: so nothing here needs more than the standard library. [`providers`] are the variables about who is trusted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub mod providers;

/// Exit code for a configuration that cannot be used (`EX_USAGE` of sysexits).
pub const EXIT_CONFIG: u8 = 64;

/// The longest staleness that may be configured: a week is beyond any outage that should still be served blindly.
const MAX_STALENESS: Duration = Duration::from_secs(7 * 24 * 3600);

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its default, empty where there is none.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Documents a variable.
#[must_use]
pub const fn variable(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, default, about }
}

/// Everything wrong with a configuration, one line each, each naming its variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// Looks a variable up. An empty value counts as unset: that is how deployment templates leave things out.
pub trait Lookup {
    /// The value of `name`.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name).filter(|value| !value.is_empty())
    }
}

/// The process's environment.
pub struct Process {
    variables: HashMap<String, String>,
    /// Values that are no text, one error each. They are kept as what they resemble, so that they are not called
    /// missing as well.
    pub errors: Vec<String>,
}

impl Process {
    /// Reads the variables of this process. Only what stands in `documented` is complained about.
    #[must_use]
    pub fn read(documented: &[Variable]) -> Self {
        let mut process = Self {
            variables: HashMap::new(),
            errors: Vec::new(),
        };
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if value.to_str().is_none() && documented.iter().any(|v| v.name == name) {
                process.errors.push(format!("{name}: not valid UTF-8"));
            }
            let value = value.to_string_lossy().into_owned();
            process.variables.insert(name, value);
        }
        process
    }
}

impl Lookup for Process {
    fn get(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }
}

/// The part of a help text that lists the variables.
#[must_use]
pub fn help(documented: &[Variable], example: &str) -> String {
    let mut text = "Environment:\n".to_owned();
    for v in documented {
        let default = if v.default.is_empty() {
            String::new()
        } else {
            format!(" [default: {}]", v.default)
        };
        text.push_str(&format!("  {}{default}\n      {}\n", v.name, v.about));
    }
    text.push_str(&format!("\nExample:\n  {example}\n"));
    text
}

/// The effective settings as `NAME=value` lines. Secrets are files; what a URL may hold besides is left out.
#[must_use]
pub fn print(documented: &[Variable], env: &impl Lookup) -> String {
    documented
        .iter()
        .map(|v| {
            let value = env.get(v.name).unwrap_or_else(|| v.default.to_owned());
            format!("{}={}\n", v.name, without_user(&value))
        })
        .collect()
}

/// `scheme://user:password@host` without what stands before the `@`, and without the values of parameters that may be
/// secrets: whatever is printed here was not yet checked.
fn without_user(value: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Cow::Borrowed(value);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let shown = authority.rfind('@').and_then(|at| rest.get(at + 1..));
    let secret = |name: &str| name.to_ascii_lowercase().contains("pass");
    let parameters = rest.split_once('?').map_or("", |(_, query)| query);
    let has_secret = parameters
        .split('&')
        .any(|part| secret(part.split('=').next().unwrap_or_default()));
    if shown.is_none() && !has_secret {
        return Cow::Borrowed(value);
    }
    let user = if shown.is_some() { "…@" } else { "" };
    let place = shown.unwrap_or(rest);
    let place = match place.split_once('?') {
        Some((place, _)) if has_secret => Cow::Owned(format!("{place}?…")),
        _ => Cow::Borrowed(place),
    };
    Cow::Owned(format!("{scheme}://{user}{place}"))
}

/// Reads variables. Each reading notes its error and goes on with something harmless, so that all errors are found.
pub struct Settings<'e, L> {
    env: &'e L,
    documented: &'static [Variable],
    /// What was found wrong.
    pub errors: Vec<String>,
}

impl<'e, L: Lookup> Settings<'e, L> {
    /// Nothing read yet.
    pub fn new(documented: &'static [Variable], env: &'e L) -> Self {
        Self {
            env,
            documented,
            errors: Vec::new(),
        }
    }

    /// The value as it is.
    pub fn get(&self, name: &str) -> Option<String> {
        self.env.get(name)
    }

    /// Notes an error.
    pub fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    /// The value, or the default that is documented.
    pub fn or_default(&self, name: &str) -> String {
        let documented = || self.documented.iter().find(|v| v.name == name);
        self.get(name)
            .unwrap_or_else(|| documented().map_or_else(String::new, |v| v.default.to_owned()))
    }

    /// The variable's value, else its documented default, which every caller's choices contain.
    pub fn choice<T: Copy + Default>(&mut self, name: &'static str, choices: &[(&str, T)]) -> T {
        let value = self.or_default(name);
        if let Some((_, chosen)) = choices.iter().find(|(text, _)| *text == value) {
            return *chosen;
        }
        let known: Vec<&str> = choices
            .iter()
            .map(|(text, _)| *text)
            .filter(|text| !text.is_empty())
            .collect();
        self.errors
            .push(format!("{name}: {value:?} is not one of {}", known.join(", ")));
        T::default()
    }

    /// The value read as a `T`; `wanted` says in words what that is.
    pub fn parsed<T: std::str::FromStr>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let text = self.get(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.errors.push(format!("{name}: {text:?} is not {wanted}"));
        }
        parsed
    }

    /// An address to listen on: the variable's, else `default` on loopback, moved by `offset`.
    pub fn listen(&mut self, name: &str, default: u16, offset: u16) -> SocketAddr {
        let fallback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        if self.get(name).is_some() {
            return self
                .parsed(name, "an address such as 127.0.0.1:9191")
                .unwrap_or_else(|| fallback(default));
        }
        fallback(default.checked_add(offset).unwrap_or_else(|| {
            self.errors.push(format!(
                "ALPHASWARM_PORT_OFFSET: {default} + {offset} is beyond 65535"
            ));
            default
        }))
    }

    /// `ALPHASWARM_PORT_OFFSET`.
    pub fn port_offset(&mut self) -> u16 {
        self.parsed("ALPHASWARM_PORT_OFFSET", "a number of ports, for example 100")
            .unwrap_or(0)
    }

    /// A duration from a second to a week.
    pub fn staleness(&mut self, name: &'static str) -> Duration {
        let text = self.or_default(name);
        match duration(&text) {
            Some(age) if !age.is_zero() && age <= MAX_STALENESS => age,
            _ => {
                self.errors.push(format!(
                    "{name}: {text:?} is no duration from 1s to 7d (168h), such as 24h"
                ));
                MAX_STALENESS
            }
        }
    }

    /// A duration from `least` to `most`.
    pub fn duration(&mut self, name: &'static str, least: Duration, most: Duration) -> Duration {
        let text = self.or_default(name);
        match duration(&text) {
            Some(found) if (least..=most).contains(&found) => found,
            _ => {
                self.errors.push(format!(
                    "{name}: {text:?} is no duration from {}s to {}s, such as 30s or 24h",
                    least.as_secs(),
                    most.as_secs()
                ));
                most
            }
        }
    }

    /// How many, from 1 to `most`.
    pub fn count(&mut self, name: &'static str, most: u32) -> u32 {
        let text = self.or_default(name);
        match text.parse() {
            Ok(count) if (1..=most).contains(&count) => count,
            _ => {
                self.errors
                    .push(format!("{name}: {text:?} is no number from 1 to {most}"));
                1
            }
        }
    }

    /// A number of seconds, at most `most`.
    pub fn seconds(&mut self, name: &'static str, most: u64) -> Duration {
        let text = self.or_default(name);
        match text.parse::<u64>() {
            Ok(seconds) if seconds <= most => Duration::from_secs(seconds),
            _ => {
                self.errors.push(format!(
                    "{name}: {text:?} is no number of seconds from 0 to {most}"
                ));
                Duration::ZERO
            }
        }
    }
}

/// `90`, `90s`, `15m`, `24h`, `7d`, `250ms`: a plain number is in seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(24 * 3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: &[Variable] = &[
        variable("MODE", "strict", "strict | lax"),
        variable("AGE", "24h", "how old"),
        variable("PORT", "", "where"),
    ];

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, milliseconds) in [
            ("90", Some(90_000)),
            ("250ms", Some(250)),
            ("15m", Some(900_000)),
            ("24h", Some(86_400_000)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("1w", None),
            ("s", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_error_is_noted_and_what_is_unset_has_its_default() {
        let env = |name: &str| (name == "AGE").then(|| "soon".to_owned());
        let mut settings = Settings::new(VARIABLES, &env);
        let mode = settings.choice("MODE", &[("strict", 1), ("lax", 2)]);
        let age = settings.staleness("AGE");
        assert_eq!((mode, age), (1, MAX_STALENESS));
        assert_eq!(settings.listen("PORT", 80, 1).port(), 81);
        assert_eq!(settings.errors.len(), 1);
        assert!(
            settings
                .errors
                .iter()
                .all(|error| error.starts_with("AGE: \"soon\""))
        );
    }
}
