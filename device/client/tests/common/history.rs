//! What happens to a repository, step by step.

use crate::repository::Repository;

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Publish,
    Refresh,
    /// A next root that changes no key.
    Root,
    /// One that takes the key of a role away.
    Rotate(&'static str),
    /// The same after the online keys were stolen and used: all numbers begin anew (TUF specification 5.3.11).
    Recover(&'static str),
    /// One that adds a key to a role.
    Add(&'static str),
}

impl Step {
    /// `number` is that of a key that comes new.
    pub fn carry_out(self, repository: &mut Repository, number: u8) {
        match self {
            Self::Publish => repository.publish(),
            Self::Refresh => repository.refresh(),
            Self::Root => repository.next_root(&[1]),
            Self::Rotate(role) => {
                repository.keys.insert(role, vec![number]);
                repository.next_root(&[1]);
                repository.publish();
            }
            Self::Recover(role) => {
                repository.keys.insert(role, vec![number]);
                repository.next_root(&[1]);
                repository.versions.extend([("timestamp", 0), ("snapshot", 0), ("targets", 0)]);
                repository.publish();
            }
            Self::Add(role) => {
                repository.keys.get_mut(role).unwrap().push(number);
                repository.next_root(&[1]);
                repository.publish();
            }
        }
    }
}
