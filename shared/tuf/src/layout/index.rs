//! The index: what the ledger knows about every role without reading its document.
//!
//! The index is a tree of pages parallel to the trie of bins. Each split role has a page, with an
//! entry for each of its bins. The digest of a page is its name, so a page never changes. A split
//! role's entry names the page below it.
//!
//! So a generation writes only the pages above its changes, and a search for a name reads only the
//! pages on the way to it: 1 at 1,000 targets, 3 at a million.
//!
//! *Invariants*: the entry of `targets` determines the whole index of one generation, so nobody can
//! replace a part of it; an entry names the document below it that expires first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::addressed::Addressed;
use super::trie;
use crate::primitives::{RoleName, Sha256, TargetName, Time, json};
use crate::signing::VerifyError;

/// The format version of the pages that this code writes.
pub const PAGE_FORMAT: u32 = 1;

/// Where a role's document is, with the facts that a check needs without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleEntry {
    /// The version of the role's document.
    pub version: u64,
    /// The digest of the unsigned document, which names it in the ledger.
    pub draft: Sha256,
    /// The time at which the document expires.
    pub expires: Time,
}

/// A role's entry in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The facts about the role's own document.
    #[serde(flatten)]
    pub document: RoleEntry,
    /// The role's bins, if it is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bins: Option<Bins>,
}

/// The bins below a split role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bins {
    /// The digest of the page with their entries, which names it in the ledger.
    pub page: Sha256,
    /// The document below that expires first.
    pub first_to_expire: Expiring,
}

/// A document, with the time at which it expires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Expiring {
    /// The time at which it expires.
    pub expires: Time,
    /// The role that the document is for.
    pub role: RoleName,
    /// The version of that document.
    pub version: u64,
}

/// The entries of a split role's bins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The format version, at most [`PAGE_FORMAT`].
    pub format: u32,
    /// The entries of all 16 bins.
    pub bins: BTreeMap<RoleName, IndexEntry>,
}

impl IndexEntry {
    /// The document that expires first: that of `role`, whose entry this is, or one below.
    #[must_use]
    pub fn first_to_expire(&self, role: &RoleName) -> Expiring {
        let RoleEntry { version, expires, .. } = self.document;
        let own = Expiring { expires, role: role.clone(), version };
        self.bins.iter().map(|bins| bins.first_to_expire.clone()).fold(own, Ord::min)
    }
}

impl Page {
    /// The page's bytes, as they are stored.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VerifyError> {
        json::to_vec(self).map_err(|error| unreadable(&RoleName::targets(), &error.to_string()))
    }

    /// Reads the page below `role` whose digest is `digest`.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] if the bytes have another digest, or list any other roles than
    /// the bins of `role`.
    pub fn from_bytes(role: &RoleName, digest: &Sha256, bytes: &[u8]) -> Result<Self, VerifyError> {
        if Sha256::of(bytes) != *digest {
            return Err(unreadable(
                role,
                "the page of its bins does not have the digest that names it",
            ));
        }
        let page: Self =
            serde_json::from_slice(bytes).map_err(|error| unreadable(role, &error.to_string()))?;
        if page.format > PAGE_FORMAT {
            return Err(unreadable(
                role,
                "the page of its bins was written by a newer version; use that one",
            ));
        }
        // So a reader never reads more below a role than its bins, and a search never ends in a
        // role that is split.
        let children = trie::children(role);
        if children.is_empty() || !page.bins.keys().eq(&children) {
            return Err(unreadable(
                role,
                "the page of its bins lists other roles, or not all of its bins",
            ));
        }
        Ok(page)
    }
}

impl TryFrom<Page> for Addressed<Page> {
    type Error = VerifyError;

    fn try_from(page: Page) -> Result<Self, VerifyError> {
        let bytes = page.to_bytes()?.into();
        Ok(Self::new(page, bytes))
    }
}

/// The part of a generation's index that was read so far. [`Index::wanted`] names the pages to read
/// next, and [`Index::give`] takes them.
#[derive(Debug, Clone)]
pub struct Index {
    top: IndexEntry,
    /// The pages that were read or made, by the role above their bins.
    pages: BTreeMap<RoleName, Page>,
    /// The roles whose pages were changed.
    changed: BTreeSet<RoleName>,
}

/// A page to read: the role above its bins, and the page's digest.
pub type WantedPage = (RoleName, Sha256);

impl Index {
    /// The index below the entry of `targets`.
    #[must_use]
    pub fn new(top: IndexEntry) -> Self {
        Self { top, pages: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// The pages to read next on the way to these places. Call it again after giving them: it then
    /// names the pages below them.
    pub fn wanted<'a>(&self, places: impl IntoIterator<Item = Place<'a>>) -> BTreeSet<WantedPage> {
        places.into_iter().filter_map(|place| self.walk(&place).err()).collect()
    }

    /// The unread pages of all known bins that `interesting` picks.
    pub fn wanted_below(&self, interesting: impl Fn(&Bins) -> bool) -> BTreeSet<WantedPage> {
        let missing = |(role, entry): (RoleName, &IndexEntry)| {
            let bins = entry.bins.as_ref().filter(|bins| interesting(bins))?;
            (!self.pages.contains_key(&role)).then_some((role, bins.page))
        };
        self.entries().filter_map(missing).collect()
    }

    /// Takes a page that [`Index::wanted`] named.
    pub fn give(&mut self, role: RoleName, page: Page) {
        self.pages.insert(role, page);
    }

    /// The entries on all pages that were read, and the entry of `targets`.
    pub fn entries(&self) -> impl Iterator<Item = (RoleName, &IndexEntry)> {
        let below = self
            .pages
            .values()
            .flat_map(|page| &page.bins)
            .map(|(role, entry)| (role.clone(), entry));
        std::iter::once((RoleName::targets(), &self.top)).chain(below)
    }

    /// The role whose document lists `name`, or would list it.
    ///
    /// # Errors
    /// The page that must be read first.
    pub fn leaf(&self, name: &TargetName) -> Result<RoleName, WantedPage> {
        self.walk(&Place::Name(name)).map(|(role, _)| role)
    }

    /// The role whose document or page is needed next for `place`: the deepest role on the way, or
    /// the first whose page was not read.
    #[must_use]
    pub fn nearest(&self, place: &Place<'_>) -> RoleName {
        self.walk(place).map_or_else(|(role, _)| role, |(role, _)| role)
    }

    /// The entry of `role`; `None` if there is no such role, or if its page was not read.
    #[must_use]
    pub fn entry(&self, role: &RoleName) -> Option<&IndexEntry> {
        match trie::parent(role) {
            Some(parent) => self.pages.get(&parent)?.bins.get(role),
            None => (*role == RoleName::targets()).then_some(&self.top),
        }
    }

    /// The deepest role on the way to `place`, and its entry; or the page that must be read first.
    fn walk(&self, place: &Place<'_>) -> Result<(RoleName, &IndexEntry), WantedPage> {
        let digits = place.digits();
        let (mut role, mut entry) = (RoleName::targets(), &self.top);
        for length in 1..=digits.len() {
            let Some(bins) = &entry.bins else { break };
            let page = self.pages.get(&role).ok_or_else(|| (role.clone(), bins.page))?;
            let below = digits.get(..length).and_then(trie::bin);
            // A page always has all bins, so this place is deeper than bins can be.
            let Some(found) = below.and_then(|below| page.bins.get_key_value(&below)) else {
                break;
            };
            (role, entry) = (found.0.clone(), found.1);
        }
        Ok((role, entry))
    }

    /// Gives `role` a new document. The bins below it stay.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] if the page with its entry was neither read nor made by
    /// [`Index::split`], or if `role` is not in the trie. Without the error the document would be
    /// lost.
    pub(crate) fn set(&mut self, role: &RoleName, document: RoleEntry) -> Result<(), VerifyError> {
        let Some(parent) = trie::parent(role) else {
            if *role != RoleName::targets() {
                return Err(unreadable(role, "it is not a role of the index"));
            }
            self.top.document = document;
            return Ok(());
        };
        let page = self.pages.get_mut(&parent).ok_or_else(|| unread(&parent))?;
        page.bins
            .entry(role.clone())
            .and_modify(|entry| entry.document = document.clone())
            .or_insert(IndexEntry { document, bins: None });
        self.changed.insert(parent);
        Ok(())
    }

    /// Makes an empty page below `role`, for [`Index::set`] to fill.
    pub(crate) fn split(&mut self, role: &RoleName) {
        self.pages.insert(role.clone(), Page { format: PAGE_FORMAT, bins: BTreeMap::new() });
        self.changed.insert(role.clone());
    }

    /// The entry of `targets` after all changes, and the pages to store.
    pub(crate) fn finish(mut self) -> Result<(IndexEntry, Vec<Addressed<Page>>), VerifyError> {
        let mut pages = Vec::with_capacity(self.changed.len());
        // The deepest page first: each changes an entry on the page above.
        while let Some(role) = self.changed.iter().max_by_key(|role| trie::depth(role)).cloned() {
            self.changed.remove(&role);
            let page = self.pages.get(&role).ok_or_else(|| unread(&role))?;
            let first = page.bins.iter().map(|(bin, entry)| entry.first_to_expire(bin)).min();
            let first_to_expire =
                first.ok_or_else(|| unreadable(&role, "it is split into no bins"))?;
            let page = Addressed::try_from(page.clone())?;
            let bins = Some(Bins { page: page.digest(), first_to_expire });
            pages.push(page);
            match trie::parent(&role) {
                None => self.top.bins = bins,
                Some(parent) => {
                    let page = self.pages.get_mut(&parent).ok_or_else(|| unread(&parent))?;
                    let entry = page.bins.get_mut(&role);
                    entry
                        .ok_or_else(|| unreadable(&role, "it is split, and has no document"))?
                        .bins = bins;
                    self.changed.insert(parent);
                }
            }
        }
        Ok((self.top, pages))
    }
}

/// What a page is read for.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The leaf that lists a target.
    Name(&'a TargetName),
    /// The entry of a role.
    Role(&'a RoleName),
}

impl Place<'_> {
    /// The hex digits of the place. They are empty for `targets` and for a role outside the trie,
    /// which need no page.
    fn digits(&self) -> String {
        match self {
            Self::Name(name) => trie::digits(name),
            Self::Role(role) => trie::prefix(role).unwrap_or_default().to_owned(),
        }
    }
}

fn unread(role: &RoleName) -> VerifyError {
    unreadable(role, "the page of its bins was not read")
}

fn unreadable(role: &RoleName, why: &str) -> VerifyError {
    VerifyError::Unreadable { role: role.clone(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lists_bins_of_its_role_only() {
        let expires = "2026-01-01T00:00:00Z".parse().unwrap();
        let entry = IndexEntry {
            document: RoleEntry { version: 1, draft: Sha256::of(b""), expires },
            bins: None,
        };
        let read = |role: &str, bins: &[&str]| {
            let bins = bins.iter().map(|bin| (bin.parse().unwrap(), entry.clone())).collect();
            let bytes = Page { format: PAGE_FORMAT, bins }.to_bytes().unwrap();
            Page::from_bytes(&role.parse().unwrap(), &Sha256::of(&bytes), &bytes)
        };
        let children: Vec<String> =
            trie::children(&RoleName::targets()).iter().map(ToString::to_string).collect();
        let children: Vec<&str> = children.iter().map(String::as_str).collect();
        assert!(read("targets", &children).is_ok());
        for missing in 0..16 {
            let mut some = children.clone();
            some.remove(missing);
            assert!(read("targets", &some).is_err(), "without bin {missing}");
        }
        for (role, other) in [
            ("targets", "bin-00"),
            ("targets", "targets"),
            ("targets", "vendor"),
            ("bin-a", "bin-b0"),
            ("bin-a", "bin-b"),
        ] {
            let below: Vec<String> =
                trie::children(&role.parse().unwrap()).iter().map(ToString::to_string).collect();
            let mut below: Vec<&str> = below.iter().map(String::as_str).collect();
            assert!(read(role, &below).is_ok(), "all below {role}");
            below.push(other);
            assert!(read(role, &below).is_err(), "{other} below {role}");
        }
        assert!(read("vendor", &[]).is_err(), "a role that is not of the trie has no page");
    }

    #[test]
    fn a_document_is_never_silently_left_out_of_the_index() {
        let expires = "2026-01-01T00:00:00Z".parse().unwrap();
        let document = RoleEntry { version: 1, draft: Sha256::of(b""), expires };
        let entry = IndexEntry { document: document.clone(), bins: None };
        let mut index = Index::new(entry.clone());
        for role in ["bin-0", "bin-00", "vendor", "snapshot"] {
            assert!(index.set(&role.parse().unwrap(), document.clone()).is_err(), "{role}");
        }
        // A split role must have a document and bins.
        for role in ["bin-0", "targets"] {
            let mut index = index.clone();
            index.split(&role.parse().unwrap());
            assert!(index.finish().is_err(), "{role}");
        }
        index.split(&RoleName::targets());
        for role in trie::children(&RoleName::targets()) {
            index.set(&role, document.clone()).unwrap();
        }
        assert_eq!(index.finish().unwrap().1.len(), 1);
    }
}
