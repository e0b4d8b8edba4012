//! Faults of every kind on real parts under open-loop load, and an oracle that knows the right answer to every request.
//!
//! In the order of a run:
//!
//! 1. [`plan`] says which fault comes when: from the seed alone, so that a run can be repeated. [`random`] is where all
//!    chance comes from.
//! 2. [`scene`] is what the faults happen to: several routers on the control plane's feed behind two Envoys, with a
//!    cable before each router and before each router's feed; [`tenants`] says who lives there.
//! 3. [`requests`] says what is asked, [`wallet`] holds the tokens for it, [`load`] sends it.
//! 4. [`faults`] carry the plan out, and write into the [`truth`] what became true when, before it can show.
//! 5. [`answer`] is read, and the [`oracle`] judges it by the truth of the time in which it was given.
//! 6. [`report`] counts, tells of progress and of whatever is wrong, and gives the last line.
//! 7. [`run`] does all of that; [`soak`] watches memory and descriptors meanwhile.
//!
//! What the oracle holds for true, in one place: a tenant is answered by the cell that it is placed in at some moment of
//! the request, whichever router decided, because a router that is cut off meets the old cell's fence. A change that
//! takes something away (a suspension, a revoked link) binds a router from two seconds after it was acknowledged, while
//! that router was connected all the time; a router that is cut off serves what it knew. A bad token is never allowed.
//! A good request is answered, except where an outage is declared: its tenant moves, or its cell is down. That the
//! registry, the identity provider or a router is down is no outage.

pub mod random;

pub mod plan;

pub mod tenants;

pub mod truth;

pub mod answer;

pub mod oracle;

pub mod requests;

pub mod wallet;

pub mod scene;

mod faults;

mod load;

pub mod report;

pub mod soak;

pub mod run;
