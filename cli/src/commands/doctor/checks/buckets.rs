//! The buckets.

use aws_sdk_s3::types::{BucketVersioningStatus, PublicAccessBlockConfiguration};

use crate::commands::doctor::report::{Code, Finding};

/// Whether a bucket keeps older versions
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>).
pub fn judge_versioning(bucket: &str, status: Option<&BucketVersioningStatus>) -> Option<Finding> {
    if status == Some(&BucketVersioningStatus::Enabled) {
        return None;
    }
    let status = status.map_or("off", BucketVersioningStatus::as_str);
    let why = format!(
        "its versioning is {status}: a replaced or deleted object is gone, and versions of an \
         upload can't be told apart"
    );
    let advice = format!(
        "`aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration \
         Status=Enabled`"
    );
    Some(Finding::problem(Code::Versioning, format!("the bucket {bucket}"), why, advice))
}

/// Whether a bucket's public access block is fully on
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>).
pub fn judge_public_access(
    bucket: &str,
    block: Option<&PublicAccessBlockConfiguration>,
) -> Option<Finding> {
    let settings = |block: &PublicAccessBlockConfiguration| {
        [
            ("BlockPublicAcls", block.block_public_acls),
            ("IgnorePublicAcls", block.ignore_public_acls),
            ("BlockPublicPolicy", block.block_public_policy),
            ("RestrictPublicBuckets", block.restrict_public_buckets),
        ]
    };
    let off = match block {
        Some(block) => settings(block)
            .into_iter()
            .filter(|(_, on)| *on != Some(true))
            .map(|(name, _)| name)
            .collect(),
        None => vec!["all of it"],
    };
    if off.is_empty() {
        return None;
    }
    let why = format!(
        "its public access block is off ({}): a policy could open it to everybody",
        off.join(", ")
    );
    let advice = format!(
        "`aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration \
         BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true`"
    );
    Some(Finding::problem(Code::PublicAccess, format!("the bucket {bucket}"), why, advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::checks::findings::{PROBLEM, states};

    #[test]
    fn a_bucket_keeps_versions_and_is_closed() {
        let found = [
            judge_versioning("b", Some(&BucketVersioningStatus::Enabled)),
            judge_versioning("b", Some(&BucketVersioningStatus::Suspended)),
            judge_versioning("b", None),
        ];
        assert_eq!(states(&found), [None, PROBLEM, PROBLEM]);
        let block = || {
            let block = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true);
            block.block_public_policy(true)
        };
        let closed = block().restrict_public_buckets(true).build();
        let found = [
            judge_public_access("b", Some(&closed)),
            judge_public_access("b", Some(&block().build())),
            judge_public_access("b", None),
        ];
        assert_eq!(states(&found), [None, PROBLEM, PROBLEM]);
        assert!(found[1].as_ref().unwrap().why.contains("(RestrictPublicBuckets)"));
    }
}
