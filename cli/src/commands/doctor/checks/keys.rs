//! The online keys, and who may sign with them.

use std::collections::BTreeSet;

use aws_sdk_kms::types::{
    GrantListEntry, GrantOperation, KeyMetadata, KeySpec, KeyState, KeyUsageType,
};
use tufline_tuf::Time;

use crate::commands::doctor::policy;
use crate::commands::doctor::report::{Code, Finding};

/// Whether an online key can sign
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>). A key that cannot is
/// only a warning if the role has another that can: it may have been replaced.
pub fn judge_key(role: &str, id: &str, key: &KeyMetadata, has_another: bool) -> Option<Finding> {
    let what = format!("the {role} key {id}");
    if key.key_usage != Some(KeyUsageType::SignVerify) || key.key_spec != Some(KeySpec::EccNistP256)
    {
        let usage = key.key_usage.as_ref().map_or("unknown", KeyUsageType::as_str);
        let spec = key.key_spec.as_ref().map_or("unknown", KeySpec::as_str);
        let why =
            format!("it is of usage {usage} and spec {spec}: no document can be signed with it");
        let advice = "name a key of usage SIGN_VERIFY and spec ECC_NIST_P256 (docs/online-keys.md)";
        return Some(Finding::problem(Code::Keys, what, why, advice));
    }
    let state = key.key_state.as_ref().map_or("unknown", KeyState::as_str);
    let (why, advice) = match key.key_state {
        Some(KeyState::Enabled) => return None,
        Some(KeyState::PendingDeletion) => {
            let deletion = key
                .deletion_date
                .map(|date| format!(" on {}", day(date.secs())))
                .unwrap_or_default();
            let why = format!("it will be deleted{deletion}, and no longer signs");
            let advice = format!(
                "`aws kms cancel-key-deletion --key-id {id}`, and then `aws kms enable-key \
                 --key-id {id}`"
            );
            (why, advice)
        }
        Some(KeyState::Disabled) => (
            "it is disabled, and no longer signs".into(),
            format!("`aws kms enable-key --key-id {id}`"),
        ),
        _ => (format!("it is {state}, and no longer signs"), "look at it in KMS".into()),
    };
    Some(if has_another {
        Finding::warning(Code::Keys, what, format!("{why}; another key of the role can"), advice)
    } else {
        Finding::problem(Code::Keys, what, why, advice)
    })
}

/// The UTC date of a time in seconds since 1970.
fn day(seconds: i64) -> String {
    let time = Time::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// Whether exactly the roles `expected` may sign with a key: a finding for each stranger, each
/// missing role and each grant that allows signing.
pub fn judge_key_policy(
    role: &str,
    id: &str,
    policy: &str,
    grants: &[GrantListEntry],
    expected: &BTreeSet<String>,
) -> Vec<Finding> {
    let what = format!("the {role} key {id}");
    let allowed = "only the functions that need it (docs/security.md)";
    let found = match policy::signers(policy) {
        Ok(found) => found,
        Err(error) => {
            let why = format!("its policy can't be read: {error}");
            return vec![Finding::problem(
                Code::KeyPolicies,
                what,
                why,
                "deploy again (docs/deploy.md#update)",
            )];
        }
    };
    let strangers = found.difference(expected).map(|stranger| {
        let (why, advice) = (
            format!("{stranger} may sign with it"),
            format!("take that out of the key's policy: {allowed} may"),
        );
        Finding::problem(Code::KeyPolicies, what.clone(), why, advice)
    });
    let missing = expected.difference(&found).map(|missing| {
        let why = format!("{missing} may not sign with it, and has to");
        Finding::problem(
            Code::KeyPolicies,
            what.clone(),
            why,
            "deploy again, which restores the key's policy",
        )
    });
    let granted = grants.iter().filter_map(|grant| {
        let operations = grant.operations.as_deref().unwrap_or_default();
        operations.contains(&GrantOperation::Sign).then(|| {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "somebody".into());
            let grantee = grant
                .grantee_principal
                .as_ref()
                .or(grant.grantee_service_principal.as_ref())
                .cloned();
            let why = format!("a grant lets {} sign with it", text(&grantee));
            let grant = text(&grant.grant_id);
            let advice =
                format!("`aws kms revoke-grant --key-id {id} --grant-id {grant}`: {allowed} may");
            Finding::problem(Code::KeyPolicies, what.clone(), why, advice)
        })
    });
    strangers.chain(missing).chain(granted).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::doctor::checks::findings::{PROBLEM, WARNING, states};

    #[test]
    fn a_key_signs_while_it_is_enabled_and_of_the_right_kind() {
        let of = |state: KeyState, spec: KeySpec| {
            let key = KeyMetadata::builder()
                .key_id("k")
                .key_usage(KeyUsageType::SignVerify)
                .key_spec(spec);
            key.key_state(state).build().unwrap()
        };
        let p256 = |state| of(state, KeySpec::EccNistP256);
        let found = [
            judge_key("bins", "k", &p256(KeyState::Enabled), false),
            judge_key("bins", "k", &p256(KeyState::Disabled), true),
            judge_key("bins", "k", &p256(KeyState::Disabled), false),
            judge_key("bins", "k", &p256(KeyState::PendingDeletion), false),
            judge_key("bins", "k", &p256(KeyState::Unavailable), false),
            judge_key("bins", "k", &of(KeyState::Enabled, KeySpec::Rsa2048), true),
        ];
        assert_eq!(states(&found), [None, WARNING, PROBLEM, PROBLEM, PROBLEM, PROBLEM]);
        assert_eq!(day(1_796_083_200), "2026-12-01");
    }

    #[test]
    fn only_the_expected_roles_may_sign() {
        let policy = |signers: &[&str]| {
            let sign =
                json!({"Effect": "Allow", "Action": "kms:Sign", "Principal": {"AWS": signers}});
            json!({"Statement": [sign]}).to_string()
        };
        let expected = BTreeSet::from(["arn:sign".to_owned()]);
        let found = |policy: &str, grants: &[GrantListEntry]| {
            let found = judge_key_policy("bins", "k", policy, grants, &expected);
            found.into_iter().map(|finding| finding.why).collect::<Vec<String>>()
        };
        let grant = |operation| {
            let grant = GrantListEntry::builder().grant_id("g").grantee_principal("arn:thief");
            grant.operations(operation).build()
        };
        assert_eq!(found(&policy(&["arn:sign"]), &[grant(GrantOperation::GetPublicKey)]), [""; 0]);
        assert_eq!(found(&policy(&["arn:sign", "arn:thief"]), &[]), ["arn:thief may sign with it"]);
        assert_eq!(
            found(&policy(&["arn:sign"]), &[grant(GrantOperation::Sign)]),
            ["a grant lets arn:thief sign with it"]
        );
        assert_eq!(found(&policy(&[]), &[]), ["arn:sign may not sign with it, and has to"]);
        assert_eq!(found("", &[]).len(), 1);
    }
}
