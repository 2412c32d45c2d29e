//! The requests to KMS that online keys and people's keys share.

use aws_sdk_kms::Client;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use tough::schema::key::Key as PublicKey;
use tufline_store::{BoxedError, ErrorKind, Result, StoreError};
use tufline_tuf::{Sha256, root};

use crate::failure::failed;

/// The public part of the key `id`, which `read` takes from the answer
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html>).
pub(crate) async fn public_key<T>(
    client: &Client,
    id: &str,
    read: impl Fn(&GetPublicKeyOutput) -> std::result::Result<T, BoxedError>,
) -> Result<T> {
    match usable_public_key(client, id, read).await {
        Ok(key) => Ok(key),
        Err(UnreadKey::Gone(error) | UnreadKey::Failed(error)) => Err(error),
    }
}

/// Why a public key could not be read.
pub(crate) enum UnreadKey {
    /// The key is disabled, deleted, or about to be.
    Gone(StoreError),
    /// Any other failure.
    Failed(StoreError),
}

/// Like [`public_key`], but says whether the key can no longer be used
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>).
pub(crate) async fn usable_public_key<T>(
    client: &Client,
    id: &str,
    read: impl Fn(&GetPublicKeyOutput) -> std::result::Result<T, BoxedError>,
) -> std::result::Result<T, UnreadKey> {
    let answer = client.get_public_key().key_id(id).send().await.map_err(|error| {
        let is_gone = error.as_service_error().is_some_and(|answer| {
            answer.is_kms_invalid_state_exception()
                || answer.is_disabled_exception()
                || answer.is_not_found_exception()
        });
        let failure = failed("read the public key of", id, error);
        if is_gone { UnreadKey::Gone(failure) } else { UnreadKey::Failed(failure) }
    })?;
    let unusable =
        |error| StoreError::from_source(ErrorKind::Invalid, "read the public key of", id, error);
    read(&answer).map_err(|error| UnreadKey::Failed(unusable(error)))
}

/// Has KMS delete a key after `days` days
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html>).
pub(crate) async fn schedule_deletion(client: &Client, id: &str, days: i32) -> Result<()> {
    let answer =
        client.schedule_key_deletion().key_id(id).pending_window_in_days(days).send().await;
    answer.map(drop).map_err(|error| failed("schedule the deletion of", id, error))
}

/// A KMS key in the form in which metadata lists it (TUF specification 4.2). KMS gives
/// `SubjectPublicKeyInfo` in DER.
pub(crate) fn to_tuf(answer: &GetPublicKeyOutput) -> std::result::Result<PublicKey, BoxedError> {
    let der = answer.public_key().ok_or("the answer has no public key")?.as_ref();
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    Ok(root::read_known_key(pem.as_bytes(), "in KMS")?)
}

/// Signs `message`. KMS gets only its digest, since it takes messages of at most 4,096 bytes
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>; "ECDSA signatures are
/// DER-encoded").
pub(crate) async fn sign(
    client: &Client,
    id: &str,
    algorithm: SigningAlgorithmSpec,
    message: &[u8],
) -> Result<Vec<u8>> {
    let request =
        client.sign().key_id(id).message(Blob::new(Sha256::of(message).as_bytes().as_slice()));
    let answer =
        request.message_type(MessageType::Digest).signing_algorithm(algorithm).send().await;
    let answer = answer.map_err(|error| failed("sign with", id, error))?;
    let missing =
        || StoreError::new(ErrorKind::Corrupt, "sign with", id, "the answer has no signature");
    Ok(answer.signature.ok_or_else(missing)?.into_inner())
}
