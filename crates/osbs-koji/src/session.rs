//! A session: what proves it, and the numbers of its calls (client-and-koji 5.3).
//!
//! Pure data. A number is used for one call and its repetitions, never for another call.

use crate::{Value, ValueError};
use osbs_types::Secret;

/// How the hub is told of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStyle {
    /// In headers: hubs from 1.31 on.
    Headers,
    /// In the query, as before.
    Url,
}

/// Whether the hub counts calls, so that one may be sent again with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Made by our login: may be made again.
    Login,
    /// Below another session: dies with it.
    Sub,
}

/// What a login, or [`crate::Koji::subsession`], gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionProof {
    /// The session's number.
    pub id: i64,
    /// Its key.
    pub key: Secret,
    /// Whether the hub reads it in headers.
    pub in_headers: bool,
}

impl SessionProof {
    /// From the answer of a login.
    ///
    /// # Errors
    /// It is none.
    pub fn read(answer: Value) -> Result<Self, ValueError> {
        Ok(Self {
            id: answer.int_of("session-id")?,
            key: Secret::new(answer.str_of("session-key")?),
            in_headers: answer.get("header-auth").is_true(),
        })
    }
}

/// What a single request carries of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionMark {
    /// The session's number.
    pub id: i64,
    /// Its key.
    pub key: Secret,
    /// The call's number.
    pub callnum: u64,
    /// Where it stands.
    pub style: SessionStyle,
}

/// A session in use.
#[derive(Debug)]
pub(crate) struct Session {
    proof: SessionProof,
    style: SessionStyle,
    next: u64,
    pub(crate) origin: Origin,
    pub(crate) exclusive: bool,
}

impl Session {
    pub(crate) fn new(proof: SessionProof, origin: Origin, in_url: bool) -> Self {
        let style = if in_url || !proof.in_headers { SessionStyle::Url } else { SessionStyle::Headers };
        Self { proof, style, next: 0, origin, exclusive: false }
    }

    /// What the next call carries; its number is used up.
    pub(crate) fn mark(&mut self) -> SessionMark {
        let callnum = self.next;
        self.next += 1;
        SessionMark { id: self.proof.id, key: self.proof.key.clone(), callnum, style: self.style }
    }

    /// A renewal: a new key for the same session. Numbers go on, for the hub remembers the last one.
    pub(crate) fn renew(&mut self, proof: SessionProof) {
        if proof.id != self.proof.id {
            self.next = 0;
            self.exclusive = false;
        }
        self.proof = proof;
    }

    pub(crate) fn id(&self) -> i64 {
        self.proof.id
    }

    /// Whether it may be made again without telling the caller.
    pub(crate) fn can_be_made_again(&self) -> bool {
        self.origin == Origin::Login && !self.exclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(id: i64, key: &str) -> SessionProof {
        SessionProof { id, key: Secret::new(key), in_headers: true }
    }

    #[test]
    fn numbers_survive_a_renewal() {
        let mut session = Session::new(proof(62, "12-a"), Origin::Login, false);
        assert_eq!([session.mark().callnum, session.mark().callnum], [0, 1]);
        session.renew(proof(62, "12-b"));
        let mark = session.mark();
        assert_eq!((mark.callnum, mark.key.reveal()), (2, "12-b"));
        session.renew(proof(63, "12-c"));
        assert_eq!(session.mark().callnum, 0);
        assert!(!format!("{session:?}{mark:?}").contains("12-"));
    }

    #[test]
    fn old_hubs_get_the_session_in_the_url() {
        let old = SessionProof { in_headers: false, ..proof(1, "k") };
        assert_eq!(Session::new(old, Origin::Login, false).mark().style, SessionStyle::Url);
        assert_eq!(Session::new(proof(1, "k"), Origin::Login, true).mark().style, SessionStyle::Url);
    }
}
