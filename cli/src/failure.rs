//! What to say of a failure.

use tufline_aws::NO_SIGN_IN;

/// An error with its causes, in one line; a cause that its error quotes already isn't repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    line
}

/// What can be done about a failure that reads so.
pub fn advice(error: &str) -> Option<&'static str> {
    // AWS's codes for a sign-in that was good once, one for each protocol
    // (https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html).
    const EXPIRED: [&str; 2] = ["ExpiredToken", "RequestExpired"];
    const UNKNOWN: [&str; 4] =
        ["InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"];
    let has = |what: &str| error.contains(what);
    if has(NO_SIGN_IN) {
        return Some(match error.to_lowercase() {
            told if told.contains("sso") => "run `aws sso login` for this profile",
            told if told.contains("login") => "run `aws login` for this profile",
            told if told.contains("external process") || told.contains("credential_process") => {
                "run the profile's credential_process by hand to see what is wrong with it"
            }
            _ => {
                "sign in with `aws sso login`, `aws login` or `aws configure` and name the profile in AWS_PROFILE, or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
        });
    }
    // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; other services say it in the message of SignatureDoesNotMatch.
    if ["RequestTimeTooSkewed", "Signature expired", "Signature not yet current"].into_iter().any(has) {
        return Some("set this machine's clock right");
    }
    // What an uploader may not do an operator may.
    if has("AccessDenied") {
        return Some("--admin FILE names an operator's keys");
    }
    if EXPIRED.into_iter().any(has) {
        return Some("the sign-in has expired: sign in again");
    }
    UNKNOWN
        .into_iter()
        .any(has)
        .then_some("AWS doesn't know this access key or its secret: sign in again, or correct them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = anyhow::anyhow!("no such\n file").context("open x: no such file").context("reading");
        assert_eq!(one_line(&error), "reading: open x: no such file");
    }

    #[test]
    fn each_failure_to_sign_in_has_its_advice() {
        for (error, expected) in [
            ("no AWS sign-in works: an SSO token is missing", "aws sso login"),
            ("no AWS sign-in works: the login session has expired", "`aws login`"),
            ("no AWS sign-in works: no providers in chain provided credentials", "AWS_PROFILE"),
            ("AccessDenied (HTTP 403): no", "--admin FILE"),
            ("ExpiredTokenException (HTTP 400): no", "sign in again"),
            ("InvalidClientTokenId (HTTP 403): no", "correct them"),
            ("SignatureDoesNotMatch (HTTP 403): Signature expired: 20260101T000000Z is now earlier", "clock"),
        ] {
            let found = advice(error).unwrap_or_default();
            assert!(found.contains(expected), "{error}: {found}");
        }
        assert_eq!(advice("no such file"), None);
    }
}
