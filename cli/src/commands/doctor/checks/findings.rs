//! What the tests of the checks have in common.

use crate::commands::doctor::report::{Finding, Severity};

pub const PROBLEM: Option<Severity> = Some(Severity::Problem);
pub const WARNING: Option<Severity> = Some(Severity::Warning);

/// How each check went; nothing where there is nothing to say.
pub fn states(findings: &[Option<Finding>]) -> Vec<Option<Severity>> {
    findings.iter().map(|finding| finding.as_ref().map(|finding| finding.state)).collect()
}
