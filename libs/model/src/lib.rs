//! The exactly-once loop of the chassis as a model that a machine explores: every order of steps, every place for a
//! fault, up to small bounds.
//!
//! [`protocol`] says what may happen and what it does, [`broker`] and [`instance`] hold the state, [`properties`] says
//! what must hold, [`flaws`] breaks the protocol on purpose to show that the properties would notice, and [`report`]
//! tells a counterexample as a story. The rules in words: `docs/spec/exactly-once.md`.
//!
//! The model knows nothing of the chassis' code, and the code nothing of the model; a change of one must be followed in
//! the other by hand. The README says which file belongs to which.

pub mod action;
pub mod bounds;
pub mod broker;
pub mod flaws;
pub mod instance;
mod normal_form;
pub mod properties;
pub mod protocol;
pub mod report;
