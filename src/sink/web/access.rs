//! Who may see the page: the token, sessions, failed attempts, and the hosts it is known by.

use std::net::IpAddr;
use std::time::Instant;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::failures::{Attempt, FailureBudget};
use super::hosts::AllowedHosts;
use super::sessions::Sessions;

/// Name of the cookie that holds the session's identifier.
pub const COOKIE: &str = "mobilens";

/// Who may see the page.
pub struct Access {
    /// Fingerprint of the token.
    token: Option<[u8; 32]>,
    pub(super) hosts: AllowedHosts,
    pub(super) sessions: Sessions,
    failures: FailureBudget,
}

/// What a request's headers say of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Enough to be admitted.
    Admitted,
    /// Nothing, or a session that is not open (any more).
    Missing,
    /// A token that was judged.
    Token(Attempt),
}

impl Access {
    /// Access with `token`, which must not be empty; without one for everybody. The page is served
    /// under the names `hosts`, besides those that are always allowed.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn new(token: Option<&str>, hosts: &[String]) -> Result<Self, String> {
        if token.is_some_and(|token| token.trim().is_empty()) {
            return Err("the token is empty".to_owned());
        }
        Ok(Self {
            token: token.map(|token| fingerprint(token.trim())),
            hosts: AllowedHosts::new(hosts),
            sessions: Sessions::default(),
            failures: FailureBudget::default(),
        })
    }

    /// Judges the credentials of a request from `address`. A session's identifier cannot be guessed, so
    /// one that is not open costs nothing: it may be older than this process.
    pub fn credentials(&self, headers: &HeaderMap, address: IpAddr) -> Credentials {
        if self.token.is_none() || self.has_session(headers) {
            return Credentials::Admitted;
        }
        match bearer_of(headers) {
            None => Credentials::Missing,
            Some(token) => match self.attempt(token, address) {
                Attempt::Admitted => Credentials::Admitted,
                attempt => Credentials::Token(attempt),
            },
        }
    }

    /// Whether the request would be admitted, without a token that may be guessed being looked at.
    pub fn has_session(&self, headers: &HeaderMap) -> bool {
        let now = Instant::now();
        cookies_of(headers).any(|id| self.sessions.admits(id, now))
    }

    /// Judges a token from `address`. Fingerprints are compared, so that the time it takes says
    /// nothing of the token.
    pub fn attempt(&self, token: &str, address: IpAddr) -> Attempt {
        let given = fingerprint(token.trim());
        let is_right = self.token.is_none_or(|right| given == right);
        self.failures
            .attempt(address.into(), Instant::now(), is_right)
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    // Tokens may have other than ASCII characters, which clients send as UTF-8.
    let value = std::str::from_utf8(value.as_bytes()).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

/// The values of the session cookie.
fn cookies_of(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let all = all.filter_map(|value| value.to_str().ok());
    let pairs = all
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, id)| id)
}

/// A fingerprint of a secret: as long for every secret, and of no use to who reads it.
pub fn fingerprint(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let access = Access::new(Some("secret"), &[]).expect("a token");
        assert_eq!(access.attempt("secret", HOME), Attempt::Admitted);
        for wrong in ["Secret", "", "secret2"] {
            let attempt = access.attempt(wrong, HOME);
            assert!(matches!(attempt, Attempt::Wrong { .. }), "{wrong:?}");
        }
        let bearer = |token: &str| {
            let headers = with(header::AUTHORIZATION, &format!("Bearer {token}"));
            access.credentials(&headers, HOME)
        };
        assert_eq!(bearer("secret"), Credentials::Admitted);
        assert!(matches!(bearer("other"), Credentials::Token(_)));
        let open = Access::new(None, &[]).expect("no token");
        assert_eq!(
            open.credentials(&HeaderMap::new(), HOME),
            Credentials::Admitted
        );
    }

    #[test]
    fn a_cookie_opens_as_a_session_and_never_as_the_token() {
        let access = Access::new(Some("secret"), &[]).expect("a token");
        let cookie = |value: &str| {
            let headers = with(header::COOKIE, &format!("a=1; mobilens={value}"));
            access.credentials(&headers, HOME)
        };
        let id = access.sessions.begin(Instant::now()).expect("random");
        assert_eq!(cookie(&id), Credentials::Admitted);
        // The token, as itself and in hexadecimal, as it once was; and nothing at all.
        for other in ["secret", "736563726574", ""] {
            assert_eq!(cookie(other), Credentials::Missing, "{other:?}");
        }
    }

    #[test]
    fn an_empty_token_is_refused() {
        for token in ["", "  \n"] {
            assert!(Access::new(Some(token), &[]).is_err(), "{token:?}");
        }
    }
}
