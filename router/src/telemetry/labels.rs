//! What metrics are told apart by: closed lists, so that their number is bounded.

use prometheus_client::encoding::EncodeLabelSet;

/// The label of denied checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabel {
    pub(super) code: &'static str,
}

/// The label of checks that a staged set was evaluated on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ChangeLabel {
    pub(super) change: &'static str,
}

/// Why a check was refused unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// `ALPHASWARM_MAX_CHECKS` were under way.
    TooMany,
    /// It had waited too long for its turn.
    Waited,
    /// Its token was new, and its tenant has had its share of verifications.
    Verification,
}

impl Shed {
    pub(super) const ALL: [Self; 3] = [Self::TooMany, Self::Waited, Self::Verification];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Waited => "waited",
            Self::Verification => "verification",
        }
    }
}

/// The label of refused checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ShedLabel {
    pub(super) cause: &'static str,
}

/// The label of errors in the background.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SourceLabel {
    pub(super) source: &'static str,
}

/// The label of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabel {
    pub(super) listener: &'static str,
}
