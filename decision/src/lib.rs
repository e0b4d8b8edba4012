//! From a request's attributes to its outcome: the whole routing policy, synchronous and without I/O, so that the
//! same code decides in the ext_authz service and inside Envoy's own process.
//!
//! # The life of a check
//!
//! 1. [`attributes`]: what the proxy says about the request; a malformed host or path ends here.
//! 2. [`credentials`]: which token counts, and from which header.
//! 3. `identity` verifies the token (cached by its hash).
//! 4. [`tenant`]: the token's claims and the host name one tenant.
//! 5. [`authorize`]: the route's class ([`policy`]), scopes and step-up; a pass is a [`Permit`](authorize::Permit).
//! 6. [`placement`]: the permit's tenant is in one cell, or on its way.
//! 7. [`outcome`]: an allow names the cell; a denial has one reason for the operator and one code for the client.
//! 8. [`response`]: which headers the cell receives, and what a denied client does.
//!
//! Step 3 is bounded for tokens that nobody has seen before, and a tenant's requests are counted before the assertion is
//! minted: [`fairness`].
//!
//! Steps 4 to 6 and the revocations are the `question` that the registry is asked; [`shadow`] asks it of a second version.
//!
//! [`decide`](decide::decide) runs the steps in this order on one snapshot; the first [`denial`] ends it. [`explain`] takes
//! the same walk and tells operators what it saw.
//!
//! [`readiness`]: whether there is what a decision needs.
//!
//! Beside it, with the feature `settings`: the settings that every packaging reads alike, and the policy file.

pub mod denial;

pub mod attributes;

pub mod credentials;

pub mod tenant;

pub mod policy;

pub mod authorize;

pub mod placement;

mod question;

pub mod outcome;

pub mod response;

pub mod decide;

pub mod shadow;

pub mod fairness;

pub mod explain;

pub mod readiness;

#[cfg(feature = "settings")]
pub mod settings;

pub use attributes::{Attributes, Field};
pub use decide::{World, decide};
pub use denial::{DenyReason, StepUp};
pub use explain::explain;
pub use fairness::{Bulkhead, Fairness};
pub use outcome::{Decision, Destination, Route};
pub use policy::{AuthMode, CbaMode, Policy};
pub use shadow::decide_beside;
