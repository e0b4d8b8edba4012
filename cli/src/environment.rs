//! Every environment variable that the command reads, in one documented type. Read once, before any command runs.

use std::ffi::OsString;

use contract::port;
use identity::Secret;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `ALPHASWARM_PORT_OFFSET`: moves the default ports of everything that is looked for on this machine; 0 when
    /// unset.
    pub port_offset: u16,
    /// `REGISTRY_URL`: the registry that commands without `--registry` work on; the dev stack's when unset.
    pub registry_url: Option<String>,
    /// `ALPHASWARM_OPERATOR_TOKEN`: what commands show a router that tell what only operators may know.
    pub operator_token: Option<Secret<String>>,
    /// `USER`: who signs the change log in commands without `--actor`.
    pub user: Option<String>,
    /// `NO_COLOR`: when set to anything but the empty text, nothing is coloured (<https://no-color.org>).
    pub no_color: bool,
}

impl Environment {
    /// Reads all variables. The errors are all of them, each naming its variable and what it may hold.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        // Unset and empty mean the same, as for a variable that a compose file passes through.
        let mut text = |name: &str| {
            let value = lookup(name).filter(|value| !value.is_empty())?;
            value
                .into_string()
                .map_err(|_| errors.push(format!("{name} is not valid UTF-8")))
                .ok()
        };
        let registry_url = text("REGISTRY_URL");
        let operator_token = text("ALPHASWARM_OPERATOR_TOKEN").map(Secret::new);
        let user = text("USER");
        let offset = text("ALPHASWARM_PORT_OFFSET");
        let port_offset = offset
            .map_or(Ok(0), |offset| parse_port_offset(&offset))
            .unwrap_or_else(|error| {
                errors.push(error);
                0
            });
        let no_color = lookup("NO_COLOR").is_some_and(|value| !value.is_empty());
        if errors.is_empty() {
            Ok(Self {
                port_offset,
                registry_url,
                operator_token,
                user,
                no_color,
            })
        } else {
            Err(errors)
        }
    }

    /// The base URL of a program on this machine, given its default port.
    #[must_use]
    pub fn local(&self, default_port: u16) -> String {
        format!(
            "http://127.0.0.1:{}",
            default_port.saturating_add(self.port_offset)
        )
    }
}

fn parse_port_offset(text: &str) -> Result<u16, String> {
    let most = u16::MAX - port::ALL.into_iter().max().unwrap_or(0);
    match text.parse::<u16>() {
        Ok(offset) if offset <= most => Ok(offset),
        _ => Err(format!(
            "ALPHASWARM_PORT_OFFSET is {text:?}, not a number from 0 to {most}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, Vec<String>> {
        Environment::read(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn unset_and_empty_are_the_defaults() {
        assert_eq!(read(&[]), Ok(Environment::default()));
        let empty = [
            ("ALPHASWARM_PORT_OFFSET", ""),
            ("REGISTRY_URL", ""),
            ("ALPHASWARM_OPERATOR_TOKEN", ""),
            ("USER", ""),
            ("NO_COLOR", ""),
        ];
        assert_eq!(read(&empty), Ok(Environment::default()));
    }

    #[test]
    fn the_offset_moves_local_programs() {
        let environment = read(&[("ALPHASWARM_PORT_OFFSET", "340"), ("NO_COLOR", "1")]).unwrap();
        assert_eq!(environment.local(port::ROUTER_HTTP), "http://127.0.0.1:8420");
        assert!(environment.no_color);
    }

    #[test]
    fn an_operators_token_is_not_shown_by_debug() {
        let environment = read(&[("ALPHASWARM_OPERATOR_TOKEN", "a.secret.b")]).unwrap();
        assert_eq!(
            environment.operator_token.as_ref().unwrap().expose(),
            "a.secret.b"
        );
        assert!(!format!("{environment:?}").contains("secret"));
    }

    #[test]
    fn every_error_is_reported_and_names_its_variable() {
        use std::os::unix::ffi::OsStringExt as _;
        let errors = Environment::read(|name| match name {
            "ALPHASWARM_PORT_OFFSET" => Some("60000".into()),
            "REGISTRY_URL" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        })
        .unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors
                .iter()
                .any(|error| error.contains("ALPHASWARM_PORT_OFFSET") && error.contains("54634"))
        );
        assert!(errors.iter().any(|error| error.contains("REGISTRY_URL")));
    }
}
