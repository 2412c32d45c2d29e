//! Finds the kind of a key in a form that isn't read. A person is told to convert a key only if the
//! converted key would be accepted.

use base64ct::{Base64, Encoding};

/// The key that a caller looks for in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A private key, to sign with.
    Private,
    /// A public key. An RSA key needs at least `least_rsa` bits.
    Public {
        /// The fewest bits of an RSA key.
        least_rsa: usize,
    },
}

/// The fewest bits of an RSA key that may sign (NIST SP 800-131A revision 2, table 2).
const LEAST_PRIVATE_RSA: usize = 2048;

/// The suffix that OpenSSH adds to a key's kind in a certificate
/// (<https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys>).
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// The DER object identifiers of kinds that not all clients can use: curves (RFC 5480, section
/// 2.1.1.1; SEC 2, section A.2.1), Ed448 and X25519 (RFC 8410, section 3), DSA (RFC 3279, section
/// 2.3.2).
const REFUSED: [(&[u8], &str); 6] = [
    (b"\x06\x05\x2b\x81\x04\x00\x22", "ECDSA P-384"),
    (b"\x06\x05\x2b\x81\x04\x00\x23", "ECDSA P-521"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "ECDSA secp256k1"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (b"\x06\x03\x2b\x65\x6e", "X25519"),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
];

/// The object identifier of RSA keys in DER (RFC 3279, section 2.3.1).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

impl Wanted {
    fn least_rsa(self) -> usize {
        match self {
            Self::Private => LEAST_PRIVATE_RSA,
            Self::Public { least_rsa } => least_rsa,
        }
    }

    fn refuse(self, kind: &str) -> String {
        let least = self.least_rsa();
        format!(
            "it is a key of {kind}; accepted are Ed25519, ECDSA P-256 and RSA of {least} bits or \
             more: `tufline root keygen` makes one"
        )
    }

    fn expect_rsa(self, bits: usize) -> Result<(), String> {
        if bits < self.least_rsa() {
            Err(self.refuse(&format!("RSA of {bits} bits")))
        } else {
            Ok(())
        }
    }

    /// Refuses DER of a key or a certificate if the kind of its key is refused in every form. An
    /// encrypted part can't show its kind.
    ///
    /// # Errors
    /// One line that names the kind.
    pub fn expect_usable(self, der: &[u8]) -> Result<(), String> {
        let at = |wanted: &[u8]| der.windows(wanted.len()).position(|bytes| bytes == wanted);
        if let Some((_, kind)) = REFUSED.iter().find(|(id, _)| at(id).is_some()) {
            return Err(self.refuse(kind));
        }
        match at(RSA).and_then(|begin| modulus(der.get(begin + RSA.len()..)?)) {
            Some(bits) => self.expect_rsa(bits),
            None => Ok(()),
        }
    }

    /// Refuses a bare RSA key (RFC 8017, appendix A.1) that is too short.
    ///
    /// # Errors
    /// One line that states its length.
    pub fn expect_usable_rsa(self, pkcs1: &[u8]) -> Result<(), String> {
        modulus(pkcs1).map_or(Ok(()), |bits| self.expect_rsa(bits))
    }

    /// The kind of an ssh public key, in the binary form that all ssh key files contain (RFC 4253,
    /// section 6.6).
    ///
    /// # Errors
    /// One line for a refused kind or a damaged key.
    pub fn expect_usable_ssh(self, public: &[u8]) -> Result<Ssh, String> {
        const DAMAGED: &str = "it is a damaged ssh key";
        let mut rest = public;
        let name =
            string(&mut rest).and_then(|name| std::str::from_utf8(name).ok()).ok_or(DAMAGED)?;
        let (kind, is_certificate) = match name.strip_suffix(CERTIFICATE) {
            Some(kind) => {
                let _nonce = string(&mut rest);
                (kind, true)
            }
            None => (name, false),
        };
        let is_ed25519 = match kind {
            "ssh-ed25519" => true,
            "ecdsa-sha2-nistp256" => false,
            "ssh-rsa" => {
                let (_exponent, modulus) = (string(&mut rest), string(&mut rest).ok_or(DAMAGED)?);
                self.expect_rsa(bits(modulus))?;
                false
            }
            "ecdsa-sha2-nistp384" => return Err(self.refuse("ECDSA P-384")),
            "ecdsa-sha2-nistp521" => return Err(self.refuse("ECDSA P-521")),
            "ssh-dss" => return Err(self.refuse("DSA")),
            security if security.starts_with("sk-") => {
                return Err(self.refuse("a security key (FIDO), which signs for ssh only"));
            }
            other => return Err(self.refuse(&format!("the kind {}", other.escape_debug()))),
        };
        Ok(Ssh { is_ed25519, is_certificate })
    }
}

/// An ssh key that is accepted after conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssh {
    /// Whether it is an Ed25519 key, which ssh-keygen doesn't convert.
    pub is_ed25519: bool,
    /// Whether it is a certificate, somebody's signature over a key, and not the key itself.
    pub is_certificate: bool,
}

/// The public part of an ssh private key, which is never encrypted
/// (<https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key>).
#[must_use]
pub fn public_of_ssh(private: &[u8]) -> Option<&[u8]> {
    let mut rest = private.strip_prefix(b"openssh-key-v1\0")?;
    let (_cipher, _derivation, _options) =
        (string(&mut rest)?, string(&mut rest)?, string(&mut rest)?);
    let (_count, mut rest) = rest.split_first_chunk::<4>()?;
    string(&mut rest)
}

/// The ssh public key in a text: a line of OpenSSH, the lines of RFC 4716, or a `PuTTY` file.
pub(crate) fn ssh_in_text(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_start();
    let digits: String = if text.starts_with("---- BEGIN SSH2 PUBLIC KEY") {
        let mut is_header = false;
        let body =
            text.lines().skip(1).take_while(|line| !line.starts_with("----")).filter(|line| {
                // A header may continue on the next line (RFC 4716, section 3.3).
                let belongs = is_header || line.contains(':');
                is_header = belongs && line.ends_with('\\');
                !belongs
            });
        body.map(str::trim).collect()
    } else if text.starts_with("PuTTY-User-Key-File") {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("Public-Lines:"));
        let count = lines.next()?.split_once(':')?.1.trim().parse().ok()?;
        lines.take(count).map(str::trim).collect()
    } else {
        text.split_whitespace().nth(1)?.to_owned()
    };
    Base64::decode_vec(&digits).ok()
}

/// An SSH string (RFC 4251, section 5).
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) =
        after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(text)
}

/// The length in bits of the first large integer in DER. In an RSA key that is the modulus.
fn modulus(der: &[u8]) -> Option<usize> {
    let begin = der.windows(2).position(|bytes| matches!(bytes, [0x02, 0x81 | 0x82]))?;
    let (digits, rest) =
        der.get(begin + 2..)?.split_at_checked(usize::from(der.get(begin + 1)? & 0x7f))?;
    let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    Some(bits(rest.get(..length)?))
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No input makes the reader panic, whatever lengths it claims.
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "(---- BEGIN SSH2 PUBLIC KEY|PuTTY-User-Key-File|ssh-rsa)[ -~\n]{0,60}") {
            for wanted in [Wanted::Private, Wanted::Public { least_rsa: 3072 }] {
                _ = wanted.expect_usable(&[RSA, &bytes].concat());
                _ = wanted.expect_usable_rsa(&bytes);
                _ = wanted.expect_usable_ssh(&bytes);
                _ = wanted.expect_usable_ssh(&[b"\0\0\0\x07ssh-rsa", &bytes[..]].concat());
            }
            _ = public_of_ssh(&[b"openssh-key-v1\0", &bytes[..]].concat());
            _ = ssh_in_text(&text);
        }
    }
}
