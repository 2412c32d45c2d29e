//! Other parties: which names each may sign for, what operators decide of that, and what the parties deliver (TUF specification 4.5,
//! DELEGATIONS).

mod decisions;
pub mod delivery;
mod names;
mod parties;

pub use decisions::{BadDelegation, Decision, MOST_PARTIES, PartyEdit};
pub use names::delegator;
pub use parties::{PARTIES_FORMAT, Parties, Party, PartyChange, PartyDocument, PartyState};
