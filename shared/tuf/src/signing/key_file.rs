//! Key files as people have them: PEM with lines of any length and ending, among any other text.
//! For any other file, the error says what it is.

use std::fmt::Write;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::key_kind::ssh_in_text;

pub use super::key_kind::Ssh;
pub use super::key_kind::Wanted;
pub use super::key_kind::public_of_ssh;

/// A block of PEM (RFC 7468, section 2). Its memory is wiped when it is dropped.
pub struct Block {
    /// The label in its BEGIN line, such as `"PRIVATE KEY"`.
    pub label: String,
    /// Whether an old openssl encrypted it (`Proc-Type: 4,ENCRYPTED`, RFC 1421, section 4.6.1.1),
    /// so that its contents can't be read here.
    pub is_encrypted: bool,
    /// The decoded bytes, DER unless the block is encrypted.
    pub contents: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Refuses a key whose kind is refused in every form, as far as its unencrypted part shows the
    /// kind.
    ///
    /// # Errors
    /// One line that names the kind.
    pub fn expect_usable(&self, wanted: Wanted) -> Result<(), String> {
        match &*self.label {
            "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => wanted.expect_usable_rsa(&self.contents),
            _ => wanted.expect_usable(&self.contents),
        }
    }
}

/// Shows the label only: the contents may be secret.
impl std::fmt::Debug for Block {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Block({})", self.label)
    }
}

/// The text of a key file, without the byte order mark that editors on Windows put first.
///
/// # Errors
/// Refuses anything but UTF-8 text, and says what it is and how to convert it.
pub fn text(bytes: &[u8], wanted: Wanted) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let utf16 = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [0, low, ..] if *low > 0 => Some("UTF-16BE"),
        [low, 0, ..] if *low > 0 => Some("UTF-16LE"),
        _ => None,
    };
    if let Some(encoding) = utf16 {
        return Err(format!(
            "it is {encoding} text: make UTF-8 of it with `iconv -f {encoding} -t UTF-8 KEY > NEW`"
        ));
    }
    if is_der(bytes) {
        wanted.expect_usable(bytes)?;
        return Err("it is DER: convert a private key with `openssl pkcs8 -topk8 -inform DER -in KEY \
                    -out NEW`, a public one with `openssl pkey -pubin -inform DER -in KEY -out NEW`; \
                    take it out of a certificate with `openssl x509 -inform DER -in KEY -pubkey \
                    -noout -out NEW`, and out of PKCS#12 with `openssl pkcs12 -nocerts -in KEY -out \
                    NEW`"
            .into());
    }
    std::str::from_utf8(bytes).map_err(|_| "it is not text: a key is PEM".into())
}

/// Whether the bytes are one SEQUENCE and nothing else, as all keys and certificates are (ITU-T
/// X.690, sections 8.1.3 and 8.9).
fn is_der(bytes: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = bytes else { return false };
    let (length, rest) = match usize::from(*first) {
        short @ ..0x80 => (short, rest),
        long => match rest.split_at_checked(long & 0x7f) {
            Some((digits, rest)) if digits.len() <= 4 => {
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return false,
        },
    };
    length == rest.len()
}

/// The PEM blocks in a text. Text around them is ignored.
///
/// # Errors
/// Refuses damaged PEM, and text without PEM, for which the error says what it is.
pub fn blocks(text: &str, wanted: Wanted) -> Result<Vec<Block>, String> {
    let (mut blocks, mut rest) = (Vec::new(), text);
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or("its BEGIN line has no end")?;
        let end = format!("-----END {label}-----");
        let (body, after) = after
            .split_once(&end)
            .ok_or_else(|| format!("its {label} has no END line: the file is cut off"))?;
        blocks.push(block(label, body)?);
        rest = after;
    }
    if blocks.is_empty() {
        return Err(not_pem(text, wanted));
    }
    Ok(blocks)
}

fn block(label: &str, body: &str) -> Result<Block, String> {
    // The full capacity from the start: the string never moves, so it leaves no copy of a secret
    // behind.
    let mut digits = Zeroizing::new(String::with_capacity(body.len()));
    let mut is_encrypted = false;
    for line in body.split(['\n', '\r']) {
        // A colon is no digit of Base64, and each header field has one.
        if line.contains(':') {
            is_encrypted |= line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
        } else {
            digits.extend(line.split_whitespace());
        }
    }
    let contents = Base64::decode_vec(&digits);
    let contents =
        contents.map_err(|_| format!("its {label} is not Base64: the file is damaged"))?;
    Ok(Block { label: label.to_owned(), is_encrypted, contents: Zeroizing::new(contents) })
}

/// Says what a text without PEM is.
fn not_pem(text: &str, wanted: Wanted) -> String {
    let text = text.trim_start();
    let begins = |with: &[&str]| with.iter().any(|with| text.starts_with(with));
    let lines = begins(&["---- BEGIN SSH2 PUBLIC KEY"]);
    if lines || begins(&["ssh-", "sk-", "ecdsa-sha2-"]) {
        let public = ssh_in_text(text).unwrap_or_default();
        return wanted
            .expect_usable_ssh(&public)
            .map_or_else(|why| why, |ssh| public_ssh(ssh, lines, wanted));
    }
    if begins(&["PuTTY-User-Key-File"]) {
        let refused = ssh_in_text(text).and_then(|public| wanted.expect_usable_ssh(&public).err());
        return refused.unwrap_or_else(|| {
            "it is a PuTTY key: export it from PuTTY in OpenSSH format, and convert that".into()
        });
    }
    if text.is_empty() {
        return "it is empty".into();
    }
    "it has no PEM, which begins with a line such as -----BEGIN PRIVATE KEY-----".into()
}

/// What to do with an ssh public key. `lines`: it is in the lines of RFC 4716.
fn public_ssh(Ssh { is_ed25519, is_certificate }: Ssh, lines: bool, wanted: Wanted) -> String {
    match (wanted, is_certificate) {
        (Wanted::Private, true) => {
            "it is an ssh certificate: give the private key that it certifies, in the file of \
             the same name without -cert.pub, converted as docs/key-files.md says"
        }
        (Wanted::Private, false) => {
            "it is the public half of an ssh key: give the private one, in the file of the same \
             name without .pub, converted as docs/key-files.md says"
        }
        (Wanted::Public { .. }, true) => {
            "it is an ssh certificate: give the public key that it certifies, in the file of the \
             same name without -cert, converted as docs/key-files.md says"
        }
        (Wanted::Public { .. }, false) if is_ed25519 => {
            "it is an ssh public key of Ed25519, which ssh-keygen does not convert: make a new key \
             with `tufline root keygen`"
        }
        (Wanted::Public { .. }, false) if lines => {
            "it is an ssh public key: convert it with `ssh-keygen -i -f KEY > KEY.pub` and \
             `ssh-keygen -e -m PKCS8 -f KEY.pub > NEW`"
        }
        (Wanted::Public { .. }, false) => {
            "it is an ssh public key: convert it with `ssh-keygen -e -m PKCS8 -f KEY > NEW`"
        }
    }
    .into()
}

/// The labels of these blocks, for people: `"PRIVATE KEY and CERTIFICATE"`.
#[must_use]
pub fn labels<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> String {
    let mut text = String::new();
    for block in blocks {
        let and = if text.is_empty() { "" } else { " and " };
        // Writing to a string never fails.
        _ = write!(text, "{and}{}", block.label);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pem(label: &str, contents: &[u8], width: usize, line: &str) -> String {
        let digits = Base64::encode_string(contents);
        let lines: Vec<&str> = digits
            .as_bytes()
            .chunks(width)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----{line}{}{line}-----END {label}-----{line}",
            lines.join(line)
        )
    }

    proptest! {
        /// The contents of every block are found, whatever text surrounds it and however its lines
        /// end.
        #[test]
        fn what_a_tool_wrote_is_found(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..3),
            width in 1..100_usize,
            line in prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", " \n\t", "\r\n\r\n", " "]),
            around in "[^\\-\\x00]{0,40}",
            mark in any::<bool>(),
        ) {
            let mark = if mark { "\u{feff}" } else { "" };
            let each = contents.iter().map(|contents| format!("{around}{line}{}", pem("PRIVATE KEY", contents, width, line)));
            let blocks_in = each.collect::<Vec<_>>().concat();
            let file = format!("{mark}#{blocks_in}{around}");
            let found = blocks(text(file.as_bytes(), Wanted::Private).unwrap(), Wanted::Private).unwrap();
            prop_assert!(found.iter().all(|block| block.label == "PRIVATE KEY" && !block.is_encrypted));
            let found: Vec<&Vec<u8>> = found.iter().map(|block| &*block.contents).collect();
            prop_assert_eq!(found, contents.iter().collect::<Vec<_>>());
        }

        /// No input makes the reader panic.
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text_of in ".{0,100}(-----(BEGIN|END) A-----.{0,20}){0,4}") {
            for bytes in [&bytes[..], text_of.as_bytes()] {
                if let Ok(text) = text(bytes, Wanted::Private) {
                    _ = blocks(text, Wanted::Private);
                }
            }
        }
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let key = pem("PRIVATE KEY", b"contents", 64, "\n");
        let utf16 = |mark: &[u16], big: bool| -> Vec<u8> {
            let units = mark.iter().copied().chain(key.encode_utf16());
            units
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        for (bytes, what) in [
            (utf16(&[0xfeff], false), "iconv -f UTF-16 "),
            (utf16(&[0xfeff], true), "iconv -f UTF-16 "),
            (utf16(&[], false), "iconv -f UTF-16LE "),
            (utf16(&[], true), "iconv -f UTF-16BE "),
            ([&[0x30, 3][..], b"\x02\x01\x00"].concat(), "it is DER"),
            ([&[0x30, 0x81, 200][..], &[0; 200]].concat(), "it is DER"),
            ([&[0x30, 0x82, 1, 0][..], &[7; 256]].concat(), "it is DER"),
            (vec![0x30, 0xff], "not text"),
        ] {
            let error = text(&bytes, Wanted::Private).unwrap_err();
            assert!(error.contains(what) && !error.contains('\n'), "{error}");
        }
        for (text, what) in [
            ("ssh-rsa AAAA a@b", "damaged"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "damaged"),
            ("PuTTY-User-Key-File-3: ssh-rsa", "PuTTY"),
            ("", "empty"),
            ("0\n", "no PEM"),
            (&key[..key.len() - 10], "cut off"),
            ("-----BEGIN PRIVATE KEY-----\nAA*A\n-----END PRIVATE KEY-----", "not Base64"),
        ] {
            let error = blocks(text, Wanted::Private).unwrap_err();
            assert!(error.contains(what) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn old_encryption_is_seen() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\nAAAA\r\n-----END RSA PRIVATE KEY-----";
        let [block] = &blocks(text, Wanted::Private).unwrap()[..] else { panic!() };
        assert!(block.is_encrypted && **block.contents == [0, 0, 0], "{block:?}");
    }
}
