//! The file's form (TOML) and its checks.

use std::num::NonZeroU32;

use contract::CellId;
use contract::assertion::Access;
use contract::id::is_id;
use identity::AssertionSlot;
use serde::Deserialize;

use super::{Class, HostPattern, PathPattern, Platform, Policy, Rule};
use crate::attributes::Reading;

/// Everything wrong with a policy file, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PolicyErrors(pub Vec<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    route: Vec<RouteTable>,
    #[serde(default)]
    platform: Vec<PlatformTable>,
    #[serde(default)]
    cors: CorsTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteTable {
    host: Option<String>,
    #[serde(default)]
    methods: Vec<String>,
    prefix: Option<String>,
    exact: Option<String>,
    class: ClassName,
    max_age_seconds: Option<u32>,
    #[serde(default)]
    scopes: Vec<String>,
    cell: Option<CellId>,
    platform: Option<String>,
    anonymous: Option<bool>,
    access: Option<Access>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClassName {
    Authenticated,
    StepUp,
    Public,
    Platform,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformTable {
    name: String,
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CorsTable {
    #[serde(default)]
    allow_origins: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    /// For tenants that the registry sets no limit for.
    requests_per_second: Option<NonZeroU32>,
}

pub(super) fn parse(text: &str, generation: u64) -> Result<Policy, PolicyErrors> {
    let file: File = toml::from_str(text).map_err(|error| PolicyErrors(vec![error.to_string()]))?;
    let mut errors = Vec::new();

    let mut platforms: Vec<Platform> = Vec::with_capacity(file.platform.len());
    for PlatformTable { name, address } in file.platform {
        if !is_id(&name) {
            errors.push(format!(
                "platform {name:?}: a name follows the id grammar (a-z, 0-9, -)"
            ));
        }
        if !is_address(&address) {
            errors.push(format!("platform {name:?}: address {address:?} is not host:port"));
        }
        if platforms.iter().any(|known| known.name == name) {
            errors.push(format!("platform {name:?} stands twice"));
        }
        platforms.push(Platform { name, address });
    }
    platforms.sort_by(|a, b| a.name.cmp(&b.name));

    let mut rules: Vec<Rule> = Vec::with_capacity(file.route.len());
    for (index, table) in file.route.into_iter().enumerate() {
        let at = format!("route {}", index + 1);
        match compile(table, &platforms) {
            Ok(rule) => {
                if rules.iter().any(|other| other.conflicts_with(&rule)) {
                    errors.push(format!("{at}: another route has the same host, path and method"));
                }
                rules.push(rule);
            }
            Err(found) => errors.extend(found.into_iter().map(|error| format!("{at}: {error}"))),
        }
    }
    for origin in &file.cors.allow_origins {
        let scheme = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        if origin != "*" && scheme.is_none_or(|rest| rest.is_empty() || rest.contains(['/', '*', ' '])) {
            errors.push(format!(
                "cors: {origin:?} is neither \"*\" nor an origin such as https://app.example.com"
            ));
        }
    }
    if !errors.is_empty() {
        return Err(PolicyErrors(errors));
    }

    rules.sort_by_key(|rule| std::cmp::Reverse(rule.specificity()));
    let strictest = strictest(&rules);
    Ok(Policy {
        rules,
        otherwise: Rule::any(Class::Authenticated),
        strictest,
        platforms,
        cors_origins: file.cors.allow_origins,
        requests_per_second: file.limits.requests_per_second.map(NonZeroU32::get),
        generation,
    })
}

fn compile(table: RouteTable, platforms: &[Platform]) -> Result<Rule, Vec<String>> {
    let mut errors = Vec::new();
    let path = match (table.prefix, table.exact) {
        (Some(prefix), None) => PathPattern::Prefix(prefix),
        (None, Some(exact)) => PathPattern::Exact(exact),
        (None, None) if table.host.is_some() => PathPattern::Prefix(String::new()),
        (None, None) => {
            errors.push("say which requests: prefix, exact or host".to_owned());
            PathPattern::Prefix(String::new())
        }
        (Some(_), Some(_)) => {
            errors.push("prefix and exact exclude each other".to_owned());
            PathPattern::Prefix(String::new())
        }
    };
    let (PathPattern::Prefix(text) | PathPattern::Exact(text)) = &path;
    let attributes = crate::Attributes {
        path: text,
        ..crate::Attributes::default()
    };
    let plain = text.is_empty() || (text.starts_with('/') && !text.contains(['?', '#', '%']));
    if !plain || attributes.read_path() != Ok(Reading::Plain) {
        errors.push(format!("{text:?} is not a plain normalised path (\"/a/b\")"));
    }
    let host = table.host.map(|host| match host.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => HostPattern::Below(suffix.to_owned()),
        _ => HostPattern::Exact(host),
    });
    if let Some(HostPattern::Exact(name) | HostPattern::Below(name)) = &host {
        let attributes = crate::Attributes {
            host: name,
            ..crate::Attributes::default()
        };
        if !attributes
            .canonical_host()
            .is_ok_and(|canonical| canonical == name.as_str() && !name.is_empty())
        {
            errors.push(format!(
                "host {name:?} is not a lower-case host name without port, or *.name"
            ));
        }
    }
    for method in &table.methods {
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
            errors.push(format!("method {method:?} is not upper-case"));
        }
    }
    for scope in &table.scopes {
        if scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic()) {
            errors.push(format!("scope {scope:?} is not a scope token"));
        }
    }
    let mut only = |present: bool, field: &str, class: ClassName| {
        if present && table.class != class {
            errors.push(format!("{field} does not belong to this class"));
        }
    };
    only(
        table.max_age_seconds.is_some(),
        "max_age_seconds",
        ClassName::StepUp,
    );
    only(table.cell.is_some(), "cell", ClassName::Public);
    only(table.platform.is_some(), "platform", ClassName::Platform);
    only(table.anonymous.is_some(), "anonymous", ClassName::Platform);

    if table.access.is_some() && table.class == ClassName::Platform {
        errors.push("access does not belong to this class: a platform service is in no cell".to_owned());
    }

    let anonymous = table.anonymous.unwrap_or(false);
    if !table.scopes.is_empty() && (table.class == ClassName::Public || anonymous) {
        errors.push("a route without a token cannot demand scopes".to_owned());
    }
    let class = match table.class {
        ClassName::Authenticated => Some(Class::Authenticated),
        ClassName::StepUp => Some(Class::StepUp {
            max_age: table.max_age_seconds,
        }),
        ClassName::Public => match table.cell {
            Some(cell) => Some(Class::Public {
                cell,
                assertion: AssertionSlot::default(),
            }),
            None => {
                errors.push("a public route names the cell that anonymous requests go to".to_owned());
                None
            }
        },
        ClassName::Platform => match table.platform {
            Some(platform) if platforms.iter().any(|known| known.name == platform) => {
                Some(Class::Platform { platform, anonymous })
            }
            Some(platform) => {
                errors.push(format!("there is no [[platform]] named {platform:?}"));
                None
            }
            None => {
                errors.push("a platform route names its platform".to_owned());
                None
            }
        },
    };
    match class {
        Some(class) if errors.is_empty() => Ok(Rule {
            host,
            methods: table.methods,
            path,
            scopes: table.scopes,
            access: table.access,
            class,
        }),
        _ => Err(errors),
    }
}

/// What holds where nothing is known of the request: all scopes and the shortest step-up of any rule together, and
/// that it may write.
fn strictest(rules: &[Rule]) -> Rule {
    let mut class = Class::Authenticated;
    let mut scopes: Vec<String> = Vec::new();
    for rule in rules {
        scopes.extend(rule.scopes.iter().cloned());
        if let Class::StepUp { max_age } = rule.class {
            let shortest = match class {
                Class::StepUp { max_age: Some(known) } => Some(max_age.map_or(known, |new| known.min(new))),
                _ => max_age,
            };
            class = Class::StepUp { max_age: shortest };
        }
    }
    scopes.sort_unstable();
    scopes.dedup();
    Rule {
        scopes,
        access: Some(Access::Write),
        ..Rule::any(class)
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
