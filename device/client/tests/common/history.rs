//! Changes of a repository, step by step.

use crate::repository::Repository;

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Publish,
    Refresh,
    /// A next root that changes no key.
    Root,
    /// A next root that replaces the key of a role.
    Rotate(&'static str),
    /// A next root that replaces a stolen online key. All version numbers start again (TUF
    /// specification 5.3.11).
    Recover(&'static str),
    /// A next root that adds a key to a role.
    Add(&'static str),
}

impl Step {
    /// Carries out the step. `number` identifies the new key, if the step needs one.
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
