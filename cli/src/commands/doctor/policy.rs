//! Who may sign with an online key, according to its policy.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

/// The action whose principals are wanted.
const SIGN: &str = "kms:Sign";

/// Stands for the principals of a statement that allows everybody, or everybody but some.
const EVERYBODY: &str = "everybody";

/// The principals that the statements of a key's policy let sign: ARNs, accounts, services
/// (`service:NAME`), or [`EVERYBODY`].
///
/// Conditions and `Deny` statements are ignored: both only narrow what is allowed. So the result
/// may name more principals than may sign, never fewer
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>).
pub fn signers(policy: &str) -> anyhow::Result<BTreeSet<String>> {
    let policy: Value = serde_json::from_str(policy).context("it is not JSON")?;
    let statements = list(policy.get("Statement").context("it has no statements")?);
    let allowed = statements
        .into_iter()
        .filter(|statement| statement["Effect"] == "Allow" && allows(statement));
    Ok(allowed.flat_map(principals).collect())
}

fn allows(statement: &Value) -> bool {
    let any = |field: &str| {
        let actions = statement.get(field)?;
        Some(
            list(actions)
                .into_iter()
                .filter_map(Value::as_str)
                .any(|pattern| matches(pattern, SIGN)),
        )
    };
    any("Action").or_else(|| any("NotAction").map(|named| !named)).unwrap_or(false)
}

fn principals(statement: &Value) -> Vec<String> {
    match statement.get("Principal") {
        Some(Value::Object(kinds)) => {
            let of_kind = |(kind, names): (&String, &Value)| {
                let kind = kind.to_lowercase();
                let named = |name: &str| match (kind.as_str(), name) {
                    ("aws", "*") => EVERYBODY.into(),
                    ("aws", name) => name.to_owned(),
                    (kind, name) => format!("{kind}:{name}"),
                };
                list(names)
                    .into_iter()
                    .filter_map(Value::as_str)
                    .map(named)
                    .collect::<Vec<String>>()
            };
            kinds.iter().flat_map(of_kind).collect()
        }
        // "*", or the field `NotPrincipal`.
        _ => vec![EVERYBODY.into()],
    }
}

/// The elements of a list; a policy may write a single element without brackets.
fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

/// Whether a pattern matches an action: `*` is any characters, `?` any one character, and case
/// doesn't count
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html>).
fn matches(pattern: &str, action: &str) -> bool {
    fn from(pattern: &[u8], action: &[u8]) -> bool {
        match (pattern.split_first(), action.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', pattern)), _) => {
                (0..=action.len()).any(|skipped| from(pattern, &action[skipped..]))
            }
            (Some((b'?', pattern)), Some((_, rest))) => from(pattern, rest),
            (Some((expected, pattern)), Some((found, rest))) => {
                expected.eq_ignore_ascii_case(found) && from(pattern, rest)
            }
            (Some(_), None) => false,
        }
    }
    from(pattern.as_bytes(), action.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(statement: &Value) -> Vec<String> {
        signers(&json!({"Version": "2012-10-17", "Statement": statement}).to_string())
            .unwrap()
            .into_iter()
            .collect()
    }

    #[test]
    fn patterns_mean_what_iam_says() {
        for (pattern, meant) in [
            ("kms:Sign", true),
            ("KMS:sign", true),
            ("*", true),
            ("kms:*", true),
            ("kms:S*", true),
            ("kms:?ign", true),
            ("k*:*n", true),
            ("kms:*Sign*", true),
            ("kms:Signs", false),
            ("kms:Sig", false),
            ("kms:?Sign", false),
            ("kms:Get*", false),
            ("s3:*", false),
            ("", false),
        ] {
            assert_eq!(matches(pattern, SIGN), meant, "{pattern}");
        }
    }

    #[test]
    fn every_principal_that_may_sign_is_named() {
        let allow = |action: Value, principal: Value| json!([{"Effect": "Allow", "Action": action, "Principal": principal}]);
        assert_eq!(of(&allow("kms:Sign".into(), json!({"AWS": "arn:r"}))), ["arn:r"]);
        assert_eq!(
            of(&allow(json!(["kms:Get*", "kms:*"]), json!({"AWS": ["arn:a", "arn:b"]}))),
            ["arn:a", "arn:b"]
        );
        assert_eq!(of(&allow("kms:GetPublicKey".into(), json!({"AWS": "arn:r"}))), [""; 0]);
        assert_eq!(of(&allow("*".into(), "*".into())), [EVERYBODY]);
        assert_eq!(of(&allow("*".into(), json!({"AWS": "*"}))), [EVERYBODY]);
        assert_eq!(
            of(&allow("*".into(), json!({"Service": "x.amazonaws.com"}))),
            ["service:x.amazonaws.com"]
        );
        let one = json!({"Effect": "Allow", "NotAction": "s3:*", "Principal": {"AWS": "arn:r"}});
        assert_eq!(of(&one), ["arn:r"]);
        assert_eq!(
            of(&json!({"Effect": "Allow", "NotAction": "kms:*", "Principal": {"AWS": "arn:r"}})),
            [""; 0]
        );
        assert_eq!(
            of(&json!({"Effect": "Allow", "Action": "*", "NotPrincipal": {"AWS": "arn:r"}})),
            [EVERYBODY]
        );
        assert_eq!(of(&json!({"Effect": "Deny", "Action": "*", "Principal": "*"})), [""; 0]);
        assert!(signers("{").is_err() && signers("{}").is_err());
    }
}
