//! What the tests of the checks share.

use crate::commands::doctor::report::{Finding, Severity};

pub const PROBLEM: Option<Severity> = Some(Severity::Problem);
pub const WARNING: Option<Severity> = Some(Severity::Warning);

/// The severity of each finding; `None` for a check without a finding.
pub fn states(findings: &[Option<Finding>]) -> Vec<Option<Severity>> {
    findings.iter().map(|finding| finding.as_ref().map(|finding| finding.state)).collect()
}
