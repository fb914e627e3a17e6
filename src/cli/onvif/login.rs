//! User and password of network cameras, and the token that proves to know them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::random_bits;
use super::xml::escaped;

const SECURITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const DIGEST: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// User and password; not `Debug`, so that no message shows them.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// The `Security` header of a message that is sent when the camera's clock shows `created`.
    pub fn security_header(&self, created: &str) -> String {
        let nonce = random_bits().to_le_bytes();
        format!(
            "<wsse:Security s:mustUnderstand=\"1\" xmlns:wsse=\"{SECURITY}\" xmlns:wsu=\"{UTILITY}\"><wsse:UsernameToken>\
             <wsse:Username>{}</wsse:Username>\
             <wsse:Password Type=\"{DIGEST}\">{}</wsse:Password>\
             <wsse:Nonce EncodingType=\"{BASE64}\">{}</wsse:Nonce>\
             <wsu:Created>{created}</wsu:Created>\
             </wsse:UsernameToken></wsse:Security>",
            escaped(&self.user),
            password_digest(&nonce, created, &self.password),
            STANDARD.encode(nonce),
        )
    }
}

/// Base64(SHA-1(nonce, created, password)): UsernameToken Profile 1.0, section 3.1.
fn password_digest(nonce: &[u8], created: &str, password: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(nonce);
    hash.update(created.as_bytes());
    hash.update(password.as_bytes());
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_onvif_programmers_guide() {
        let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").expect("base64");
        assert_eq!(
            password_digest(&nonce, "2010-09-16T07:50:45Z", "userpassword"),
            "tuOSpGlFlIXsozq4HFNeeGeFLEI="
        );
    }

    #[test]
    fn the_header_holds_no_password() {
        let login = Login {
            user: "a<b".to_owned(),
            password: "open sesame".to_owned(),
        };
        let header = login.security_header("2010-09-16T07:50:45Z");
        assert!(
            !header.contains("sesame") && header.contains("a&lt;b"),
            "{header}"
        );
    }
}
