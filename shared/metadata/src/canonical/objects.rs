//! The objects of a JSON text while it is written: their members are put in order when they end, in the text itself.

use alloc::vec::Vec;
use core::ops::Range;

/// The objects of a text that have not ended. Whoever writes the text says where they and their members begin and end.
#[derive(Debug, Default)]
pub struct OpenObjects {
    open: Vec<OpenObject>,
    /// The members of an object in their order, before they replace those that were written.
    ordered: Vec<u8>,
}

/// An object whose members are written.
#[derive(Debug)]
pub struct OpenObject {
    begin: usize,
    /// Where each stands.
    pub members: Vec<ObjectMember>,
}

/// From where to where in the text.
#[derive(Debug)]
pub struct ObjectMember {
    /// With its quotes.
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
    /// Puts the members in the order of the bytes of their keys; answers whether they were in another, or a key stands twice.
    pub fn sort_as_written(&mut self, text: &[u8]) -> bool {
        if self.members.is_sorted_by(|one, next| one.key(text) < next.key(text)) {
            return false;
        }
        self.members.sort_by(|one, other| one.key(text).cmp(other.key(text)));
        true
    }
}

impl OpenObjects {
    /// An object begins: its members follow from here.
    pub fn begin(&mut self, at: usize) {
        self.open.push(OpenObject { begin: at, members: Vec::new() });
    }

    /// Whether no member of the innermost object was begun.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.open.last().is_none_or(|object| object.members.is_empty())
    }

    /// A member of the innermost object begins, with its key.
    pub fn begin_key(&mut self, at: usize) {
        if let Some(object) = self.open.last_mut() {
            object.members.push(ObjectMember { key: at..at, end: at });
        }
    }

    /// The key of the member ends.
    pub fn end_key(&mut self, at: usize) {
        if let Some(member) = self.newest() {
            member.key.end = at;
        }
    }

    /// The value of the member ends.
    pub fn end_value(&mut self, at: usize) {
        if let Some(member) = self.newest() {
            member.end = at;
        }
    }

    /// The members that are being written, the outermost first.
    pub fn path(&self) -> impl Iterator<Item = &ObjectMember> {
        self.open.iter().filter_map(|object| object.members.last())
    }

    /// The innermost object, which ends.
    pub fn end(&mut self) -> Option<OpenObject> {
        self.open.pop()
    }

    /// Writes the members of an object that ended once more, in the order in which they are now. Of two with the same key, one after the
    /// other, the last counts.
    pub fn reorder(&mut self, object: &OpenObject, text: &mut Vec<u8>) {
        self.ordered.clear();
        let alike = |one: &ObjectMember, other: &ObjectMember| one.key(text) == other.key(text);
        for member in object.members.chunk_by(alike).filter_map(<[ObjectMember]>::last) {
            if !self.ordered.is_empty() {
                self.ordered.push(b',');
            }
            self.ordered.extend_from_slice(text.get(member.key.start..member.end).unwrap_or_default());
        }
        text.truncate(object.begin);
        text.append(&mut self.ordered);
    }

    fn newest(&mut self) -> Option<&mut ObjectMember> {
        self.open.last_mut()?.members.last_mut()
    }
}
