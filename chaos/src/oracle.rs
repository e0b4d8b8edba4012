//! Whether an answer is right. Pure: what was asked, when, what came back, what was true.

use contract::header;
use devkit::dev::{self, SHARED_CELL};

use crate::answer::{Answer, Received};
use crate::requests::{Ask, Place, SPOOFED, Token};
use crate::tenants::TENANTS;
use crate::truth::{Tenancy, Truth, Window};

/// What an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A good request was served, by the right cell, as the right tenant.
    Served,
    /// What must be refused, or may be, was.
    Refused,
    /// Served although it need not have been: something had just changed, or an outage is declared.
    ServedYet,
    /// A good request within a declared outage: its tenant moves, or its cell is down.
    Excused,
    /// A good request was not served, and nothing excuses that.
    Lost(String),
    /// What must be refused was served.
    FailOpen(String),
    /// A cell served what is not its own: of another tenant, or of one that is placed elsewhere.
    WrongCell(String),
    /// A cell saw identity headers that no router set, or a client saw any.
    Spoofed(String),
}

impl Verdict {
    /// What it is counted as.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::ServedYet => "served_yet",
            Self::Excused => "excused",
            Self::Lost(_) => "lost",
            Self::FailOpen(_) => "fail_open",
            Self::WrongCell(_) => "wrong_cell",
            Self::Spoofed(_) => "spoofed",
        }
    }

    /// Why, for what should not be.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Lost(why) | Self::FailOpen(why) | Self::WrongCell(why) | Self::Spoofed(why) => Some(why),
            _ => None,
        }
    }
}

/// Judges one answer.
#[must_use]
pub fn judge(ask: Ask, window: Window, answer: &Answer, truth: &Truth) -> Verdict {
    if let Some(name) = answer.leaked.first() {
        return Verdict::Spoofed(format!("the client received {name}"));
    }
    let Some(rights) = Rights::of(ask, window, answer, truth) else {
        return Verdict::Lost(format!("there is no tenant number {}", ask.tenant));
    };
    match answer.status {
        Some(200..=299) => served(ask, window, answer, truth, &rights),
        status => {
            if rights.never && is_past_the_router(answer) {
                return Verdict::FailOpen(format!(
                    "{}, and it got as far as {}",
                    rights.why_not,
                    answer.name()
                ));
            }
            if !rights.must {
                return Verdict::Refused;
            }
            let outage = status.is_none_or(|status| status >= 500);
            if outage && is_excused(ask, window, truth) {
                return Verdict::Excused;
            }
            Verdict::Lost(format!("a good request got {}", answer.name()))
        }
    }
}

/// Whether this is no router's denial, and not Envoy's word that no router decided: what comes after them, such as a cell
/// that is down or a tenant that moves, is only for who was let in.
fn is_past_the_router(answer: &Answer) -> bool {
    match answer.status {
        None | Some(400..=499) => false,
        Some(_) => !matches!(answer.code.as_str(), "not_ready" | "overloaded"),
    }
}

/// Whether a request may be served, and whether it must.
struct Rights {
    /// It must not, whatever is going on.
    never: bool,
    may: bool,
    must: bool,
    why_not: &'static str,
}

impl Rights {
    /// The router that let the request in is held to what it must know; whoever refused may be any router.
    fn of(ask: Ask, window: Window, answer: &Answer, truth: &Truth) -> Option<Self> {
        let router = answer.received.as_ref().and_then(Received::router);
        let never = |why_not| Self {
            never: true,
            may: false,
            must: false,
            why_not,
        };
        let rights = match (ask.place, ask.token) {
            (Place::Public, Token::None) => Self {
                never: false,
                may: true,
                must: true,
                why_not: "",
            },
            (_, Token::None) => never("it has no token"),
            (_, Token::Expired) => never("its token has expired"),
            (_, Token::Forged | Token::Altered) => never("its token's signature is wrong"),
            (_, Token::WrongAudience) => never("its token is for somebody else"),
            (_, Token::Stranger) => never("its token is of no known tenant"),
            (Place::Admin, Token::Good | Token::Unique) => never("its sign-in is too weak"),
            (place, Token::Good | Token::Unique) => {
                let barred = &truth.tenant(ask.tenant)?.barred;
                let open = |router| {
                    let may = place != Place::Gated || truth.gated.may_be(&false, window, router);
                    may && barred.may_be(&false, window, router)
                };
                let must = place != Place::Gated || truth.gated.must_be(&false, window, None);
                Self {
                    never: false,
                    may: open(router),
                    must: must && barred.must_be(&false, window, None),
                    why_not: "its tenant is suspended or revoked, or the path needs a strong sign-in, and the router \
                              that let it in had time to know",
                }
            }
        };
        Some(rights)
    }
}

/// A declared outage.
fn is_excused(ask: Ask, window: Window, truth: &Truth) -> bool {
    if ask.place == Place::Public {
        return truth.was_down(SHARED_CELL, window);
    }
    truth.tenant(ask.tenant).is_some_and(|tenant| {
        tenant.moves.may_be(&true, window, None)
            || tenant
                .cell
                .recorded(window)
                .any(|cell| truth.was_down(cell, window))
    })
}

fn served(ask: Ask, window: Window, answer: &Answer, truth: &Truth, rights: &Rights) -> Verdict {
    if !rights.may {
        return Verdict::FailOpen(rights.why_not.to_owned());
    }
    let Some(received) = &answer.received else {
        return Verdict::WrongCell("who answered is no demo cell".to_owned());
    };
    if let Some(problem) = wrong_identity(ask, received) {
        return Verdict::Spoofed(problem);
    }
    let problem = if ask.place == Place::Public {
        (received.cell != SHARED_CELL).then(|| format!("{} has no public path", received.cell))
    } else {
        let placed = truth.tenant(ask.tenant);
        placed.and_then(|tenant| wrong_cell(ask, window, tenant, received))
    };
    match problem {
        Some(problem) => Verdict::WrongCell(problem),
        // What is served in a declared outage counts neither way.
        None if rights.must && !is_excused(ask, window, truth) => Verdict::Served,
        None => Verdict::ServedYet,
    }
}

fn wrong_cell(ask: Ask, window: Window, tenant: &Tenancy, received: &Received) -> Option<String> {
    let name = TENANTS.get(ask.tenant)?.id;
    match received.one(header::TENANT) {
        Some(of) if of == name => {}
        of => return Some(format!("{} served it as {of:?}, not as {name}", received.cell)),
    }
    let placed: Vec<&String> = tenant.cell.recorded(window).collect();
    (!placed.contains(&&received.cell))
        .then(|| format!("{} answered, while {name} was in {placed:?}", received.cell))
}

/// Identity headers are exactly what a router sets: each once, spelled right, and nothing that the client wrote.
fn wrong_identity(ask: Ask, received: &Received) -> Option<String> {
    if let Some(name) = received.misspelled.first() {
        return Some(format!("the cell received {name}"));
    }
    for (name, values) in &received.identity {
        if !header::IDENTITY.contains(&name.as_str()) {
            return Some(format!("the cell received {name}"));
        }
        if values.len() != 1 {
            return Some(format!("the cell received {name} {} times", values.len()));
        }
        if values.iter().any(|value| value.contains(SPOOFED)) {
            return Some(format!("the cell received the client's {name}"));
        }
    }
    if received.one(header::CELL) != Some(&received.cell) {
        return Some(format!(
            "{} received the cell header {:?}",
            received.cell,
            received.one(header::CELL)
        ));
    }
    if received.one(header::ASSERTION).is_none() {
        return Some("the cell received no assertion".to_owned());
    }
    if ask.place == Place::Public {
        let named = received
            .identity
            .contains_key(header::TENANT)
            .then(|| "a request without a token has a tenant".to_owned());
        return named;
    }
    let provider = TENANTS
        .get(ask.tenant)
        .map(|tenant| dev::provider_name(tenant.provider))?;
    let principal = received.one(header::PRINCIPAL).unwrap_or_default();
    let fits = received.one(header::PROVIDER) == Some(provider)
        && principal
            .strip_prefix(provider)
            .is_some_and(|rest| rest.starts_with(':'));
    (!fits).then(|| format!("the cell received the principal {principal:?} of a user of {provider}"))
}

#[cfg(test)]
mod tests;
