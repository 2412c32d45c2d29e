//! Other parties (TUF specification 4.5, DELEGATIONS): the names that each may sign for, operators'
//! decisions about them, and the documents that they deliver.

mod decisions;
pub mod delivery;
mod names;
mod parties;

pub use decisions::{BadDelegation, Decision, MOST_PARTIES, PartyEdit};
pub use names::delegator;
pub use parties::{PARTIES_FORMAT, Parties, Party, PartyChange, PartyDocument, PartyState};
