//! Sorts the members of objects within a JSON text, when each object ends.

use alloc::vec::Vec;
use core::ops::Range;

/// The objects that the caller has begun in a text and not yet ended. The caller reports where
/// objects and their members begin and end.
#[derive(Debug, Default)]
pub struct OpenObjects {
    open: Vec<OpenObject>,
    /// A buffer for an object's members in their order, before they replace the written ones.
    ordered: Vec<u8>,
}

/// An object whose members are being written.
#[derive(Debug)]
pub struct OpenObject {
    begin: usize,
    /// The members, in their current order.
    pub members: Vec<ObjectMember>,
}

/// The part of the text that holds a member.
#[derive(Debug)]
pub struct ObjectMember {
    /// The range of the key, including its quotes.
    key: Range<usize>,
    end: usize,
}

impl ObjectMember {
    /// The key as it is written, with its quotes.
    #[must_use]
    pub fn key<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.key.clone()).unwrap_or_default()
    }
}

impl OpenObject {
    /// Sorts the members by the bytes of their keys. Returns whether the text must be reordered: it
    /// was in another order, or a key occurs twice.
    pub fn sort_as_written(&mut self, text: &[u8]) -> bool {
        if self.members.is_sorted_by(|one, next| one.key(text) < next.key(text)) {
            return false;
        }
        self.members.sort_by(|one, other| one.key(text).cmp(other.key(text)));
        true
    }
}

impl OpenObjects {
    /// Begins an object, whose members follow from `at` on.
    pub fn begin(&mut self, at: usize) {
        self.open.push(OpenObject { begin: at, members: Vec::new() });
    }

    /// Whether the innermost object has no members yet.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.open.last().is_none_or(|object| object.members.is_empty())
    }

    /// Begins a member of the innermost object, with its key at `at`.
    pub fn begin_key(&mut self, at: usize) {
        if let Some(object) = self.open.last_mut() {
            object.members.push(ObjectMember { key: at..at, end: at });
        }
    }

    /// Ends the member's key.
    pub fn end_key(&mut self, at: usize) {
        if let Some(member) = self.newest() {
            member.key.end = at;
        }
    }

    /// Ends the member's value.
    pub fn end_value(&mut self, at: usize) {
        if let Some(member) = self.newest() {
            member.end = at;
        }
    }

    /// The members that are being written, the outermost first.
    pub fn path(&self) -> impl Iterator<Item = &ObjectMember> {
        self.open.iter().filter_map(|object| object.members.last())
    }

    /// Ends the innermost object, and returns it.
    pub fn end(&mut self) -> Option<OpenObject> {
        self.open.pop()
    }

    /// Rewrites an ended object with its members in their current order. Of adjacent members with
    /// the same key, only the last is written.
    pub fn reorder(&mut self, object: &OpenObject, text: &mut Vec<u8>) {
        self.ordered.clear();
        let alike = |one: &ObjectMember, other: &ObjectMember| one.key(text) == other.key(text);
        for member in object.members.chunk_by(alike).filter_map(<[ObjectMember]>::last) {
            if !self.ordered.is_empty() {
                self.ordered.push(b',');
            }
            self.ordered
                .extend_from_slice(text.get(member.key.start..member.end).unwrap_or_default());
        }
        text.truncate(object.begin);
        text.append(&mut self.ordered);
    }

    fn newest(&mut self) -> Option<&mut ObjectMember> {
        self.open.last_mut()?.members.last_mut()
    }
}
