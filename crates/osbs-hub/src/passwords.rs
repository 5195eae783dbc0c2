//! Passwords: argon2id hashes, and a brake on guessing. Must not know sessions.

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{self, Output, ParamsString, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How long a failure counts, in microseconds.
const WINDOW: i64 = 60_000_000;
/// Wrong passwords for one user from one address within the window.
const PER_USER: u32 = 10;
/// Wrong passwords from one address within the window.
const PER_ADDRESS: u32 = 100;
/// Entries that are kept at most: who guesses from everywhere does not fill the memory.
const MOST: usize = 10_000;

/// The hash of no password: checked for users that do not exist, so that the time does not tell.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("no password at all").unwrap_or_default());

/// What hashing works in, 19 MiB, one at a time: the allocator would keep as much for every thread that has ever hashed.
static MEMORY: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A password cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct PasswordError(String);

/// The argon2id hash of a password, in PHC form.
///
/// # Errors
/// The password is longer than argon2 takes.
pub(crate) fn hash(password: &str) -> Result<String, PasswordError> {
    let salt = SaltString::generate(&mut OsRng);
    let wrong = |error: password_hash::Error| PasswordError(error.to_string());
    let params = Params::default();
    let output = output(password, salt.as_salt(), &params, Params::DEFAULT_OUTPUT_LEN).map_err(wrong)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(wrong)?,
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn output(password: &str, salt: Salt<'_>, params: &Params, length: usize) -> Result<Output, password_hash::Error> {
    let mut bytes = [0; 64];
    let salt = salt.decode_b64(&mut bytes)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::default());
    }
    let hashed = Output::init_with(length, |out| {
        Ok(argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, memory.as_mut_slice())?)
    });
    // What was made of the password does not stay.
    memory.fill(Block::default());
    hashed
}

fn matches(stored: &PasswordHash<'_>, password: &str) -> Option<bool> {
    if stored.algorithm != Algorithm::Argon2id.ident() {
        return None;
    }
    let (salt, expected) = (stored.salt?, stored.hash?);
    let params = Params::try_from(stored).ok()?;
    // `Output` compares in constant time.
    Some(output(password, salt, &params, expected.len()).ok()? == expected)
}

/// Whether a password is right. It takes as long whether there is a hash or not.
pub(crate) fn is_right(stored: Option<&str>, password: &str) -> bool {
    let text = stored.unwrap_or(&NOBODY);
    let right = PasswordHash::new(text).is_ok_and(|hash| matches(&hash, password) == Some(true));
    right && stored.is_some() && !password.is_empty()
}

/// Where guesses come from, and for which user; none: for all.
type Guesser = (IpAddr, Option<String>);

/// Counts wrong passwords: since when, how many.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    failures: Mutex<HashMap<Guesser, (i64, u32)>>,
}

impl Brake {
    /// Whether another guess is to be looked at.
    pub(crate) fn allows(&self, address: IpAddr, user: &str, now: i64) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count =
            |key: &Guesser| failures.get(key).filter(|(since, _)| now - since < WINDOW).map_or(0, |(_, count)| *count);
        count(&(address, Some(user.to_owned()))) < PER_USER && count(&(address, None)) < PER_ADDRESS
    }

    /// A password was wrong.
    pub(crate) fn failed(&self, address: IpAddr, user: &str, now: i64) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (since, _)| now - *since < WINDOW);
        }
        for key in [(address, Some(user.chars().take(256).collect())), (address, None)] {
            if failures.len() >= MOST && !failures.contains_key(&key) {
                continue;
            }
            let entry = failures.entry(key).or_insert((now, 0));
            if now - entry.0 >= WINDOW {
                *entry = (now, 0);
            }
            entry.1 += 1;
        }
    }

    /// A password was right: what came before were slips.
    pub(crate) fn succeeded(&self, address: IpAddr, user: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(address, Some(user.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_argon2id_and_check() {
        let stored = hash("right").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$"), "{stored}");
        assert!(is_right(Some(&stored), "right"));
        assert!(!is_right(Some(&stored), "wrong"));
        assert!(!is_right(None, "no password at all"));
        assert!(!is_right(Some("no hash"), "right"));
    }

    #[test]
    fn guessing_is_stopped_for_a_while() {
        let brake = Brake::default();
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        for _ in 0..PER_USER {
            assert!(brake.allows(here, "ann", 0));
            brake.failed(here, "ann", 0);
        }
        assert!(!brake.allows(here, "ann", 0));
        assert!(brake.allows(there, "ann", 0), "another address");
        assert!(brake.allows(here, "bob", 0), "another user");
        assert!(brake.allows(here, "ann", WINDOW), "later");
        for turn in 0..PER_ADDRESS {
            brake.failed(here, &format!("user{turn}"), 0);
        }
        assert!(!brake.allows(here, "bob", 0), "too many users from one address");
    }
}
