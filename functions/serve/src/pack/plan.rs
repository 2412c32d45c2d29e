//! Decides which documents a device lacks. It does no I/O.

use std::collections::BTreeSet;

use tufline_metadata::Snapshot;
use tufline_pack::{Have, MOST_DOCUMENTS, Question};
use tufline_store::Key;
use tufline_tuf::trie;
use tufline_tuf::{RoleName, TargetName};

/// How many digits the prefixes have that [`tufline_pack::role_prefix`] makes.
const PREFIX_DIGITS: usize = 8;

/// The documents that a device lacks, of those that the timestamp leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether it lacks the timestamp.
    pub timestamp: bool,
    /// The other documents, in the order in which the device would ask for them.
    pub documents: Vec<Key>,
}

impl Plan {
    /// Makes the plan. `timestamp` is the published version.
    pub fn of(question: &Question, timestamp: u64, snapshot: &Snapshot) -> Self {
        let mut documents = vec![Key::snapshot(snapshot.version)];
        let mut met = BTreeSet::new();
        let ways = question.roles.iter().flat_map(|asked| way(asked, snapshot));
        for role in [RoleName::targets()].into_iter().chain(ways) {
            let version = snapshot.role(role.as_str()).map(|meta| meta.version);
            if let Some(version) = version.filter(|_| met.insert(role.clone())) {
                documents.push(Key::Metadata { role, version });
            }
        }
        documents.retain(|key| match key {
            Key::Metadata { role, version } => question.version(role.as_str()) != Some(*version),
            _ => true,
        });
        documents.truncate(MOST_DOCUMENTS);
        Self { timestamp: question.version("timestamp") != Some(timestamp), documents }
    }
}

/// The roles that a device asks for: the role named `asked` or, if that is a prefix of digests, the
/// bins on the way to the names whose digest begins with it.
fn way(asked: &str, snapshot: &Snapshot) -> Vec<RoleName> {
    if snapshot.role(asked).is_some() {
        return asked.parse().into_iter().collect();
    }
    let is_prefix = asked.len() == PREFIX_DIGITS
        && asked.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let bins = (1..=if is_prefix { PREFIX_DIGITS } else { 0 }).map_while(|length| {
        let role: RoleName = format!("{}{}", trie::BIN, asked.get(..length)?).parse().ok()?;
        snapshot.role(role.as_str()).map(|_| role)
    });
    bins.collect()
}

/// The roles that may list a target: its leaf, and the other parties' roles that the device asks
/// for.
pub fn listing(name: &TargetName, question: &Question, snapshot: &Snapshot) -> Vec<RoleName> {
    let leaf = trie::leaf(name, |role| snapshot.role(role.as_str()).is_some());
    let parties = question.roles.iter().filter_map(|role| role.parse::<RoleName>().ok());
    let parties = parties
        .filter(|role| trie::prefix(role).is_none() && snapshot.role(role.as_str()).is_some());
    std::iter::once(leaf).chain(parties).collect()
}

/// The document that a device claims to have, if it can exist: its version must not be ahead of the
/// snapshot's.
pub fn plausible(have: &Have, snapshot: &Snapshot) -> Option<Key> {
    let role: RoleName = have.role.parse().ok()?;
    let newest = match have.role.as_str() {
        "root" => u64::MAX,
        "snapshot" => snapshot.version,
        role => snapshot.role(role)?.version,
    };
    (have.version <= newest).then_some(Key::Metadata { role, version: have.version })
}

#[cfg(test)]
mod tests {
    use tufline_metadata::File;
    use tufline_pack::role_prefix;

    use super::*;

    fn snapshot(roles: &[(&str, u64)]) -> Snapshot {
        let meta: Vec<String> = roles
            .iter()
            .map(|(role, version)| format!("\"{role}.json\":{{\"version\":{version}}}"))
            .collect();
        let signed = format!(
            "{{\"_type\":\"snapshot\",\"spec_version\":\"1.0.34\",\"version\":9,\"expires\":\"2030-01-01T00:00:00Z\",\"meta\":{{{}}}}}",
            meta.join(",")
        );
        let file = format!("{{\"signatures\":[],\"signed\":{signed}}}");
        File::<Snapshot>::read(file.as_bytes()).unwrap().unverified().clone()
    }

    fn question(query: &str) -> Question {
        Question::parse(query).unwrap()
    }

    fn planned(query: &str, snapshot: &Snapshot) -> Vec<String> {
        let plan = Plan::of(&question(query), 5, snapshot);
        let documents = plan
            .documents
            .iter()
            .map(|key| key.path().replace("metadata/", "").replace(".json", ""));
        plan.timestamp.then(|| "timestamp".to_owned()).into_iter().chain(documents).collect()
    }

    #[test]
    fn a_device_is_sent_what_it_lacks() {
        // SHA-256("a") begins with ca978112.
        assert_eq!(role_prefix("a"), "ca978112");
        let bins = snapshot(&[
            ("targets", 3),
            ("bin-c", 4),
            ("bin-ca", 6),
            ("bin-0", 1),
            ("vendor", 2),
            ("00000000", 8),
        ]);
        for (query, expected) in [
            ("", "timestamp 9.snapshot 3.targets"),
            ("have=1.root&roles=ca978112", "timestamp 9.snapshot 3.targets 4.bin-c 6.bin-ca"),
            (
                "roles=ca978112,ca978113,0fffffff",
                "timestamp 9.snapshot 3.targets 4.bin-c 6.bin-ca 1.bin-0",
            ),
            ("have=5.timestamp,9.snapshot,3.targets,4.bin-c&roles=ca978112", "6.bin-ca"),
            ("have=5.timestamp,9.snapshot,3.targets,4.bin-c,6.bin-ca&roles=ca978112", ""),
            (
                "have=4.timestamp,8.snapshot,2.targets,4.bin-c,5.bin-ca&roles=vendor",
                "timestamp 9.snapshot 3.targets 2.vendor",
            ),
            // A listed role of that name comes before bins; roles that are not listed give nothing.
            (
                "roles=00000000,CA978112,ca97811,nobody,root,..%2Fx",
                "timestamp 9.snapshot 3.targets 8.00000000",
            ),
        ] {
            assert_eq!(planned(query, &bins).join(" "), expected, "{query}");
        }
        assert_eq!(
            planned("roles=ca978112", &snapshot(&[("targets", 3)])).join(" "),
            "timestamp 9.snapshot 3.targets"
        );
    }

    #[test]
    fn a_document_that_cannot_exist_is_not_plausible() {
        let snapshot = snapshot(&[("targets", 3)]);
        for (role, version, expected) in [
            ("targets", 3, true),
            ("targets", 4, false),
            ("snapshot", 9, true),
            ("snapshot", 10, false),
            ("root", 1000, true),
            ("bin-0", 1, false),
            ("../x", 1, false),
        ] {
            let have = Have { role: role.to_owned(), version };
            assert_eq!(plausible(&have, &snapshot).is_some(), expected, "{version}.{role}");
        }
    }

    #[test]
    fn targets_are_listed_by_their_leaf_and_by_parties() {
        let snapshot = snapshot(&[("targets", 3), ("bin-c", 4), ("vendor", 2)]);
        let listing = listing(
            &"a".parse().unwrap(),
            &question("roles=ca978112,vendor,bin-c,nobody"),
            &snapshot,
        );
        assert_eq!(listing.iter().map(RoleName::as_str).collect::<Vec<_>>(), ["bin-c", "vendor"]);
    }
}
