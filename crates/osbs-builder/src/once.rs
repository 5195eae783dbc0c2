//! Values that are made once, by whoever needs them first, while all others who need them wait.
//!
//! Knows nothing of what it holds. A value that could not be made is tried again by the next who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A value that is made at most once.
#[derive(Debug)]
pub(crate) struct Once<T> {
    value: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }
}

impl<T> Once<T> {
    /// The value; made here if nobody has, waited for if somebody does.
    pub(crate) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _making = locked(&self.making);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = make()?;
        Ok(self.value.get_or_init(|| value))
    }

    pub(crate) fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

/// Values by name, each made at most once.
#[derive(Debug)]
pub(crate) struct Keyed<T>(Mutex<HashMap<String, Arc<Once<T>>>>);

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Keyed<T> {
    /// What `look` sees of the value of this name, which is made if need be. Other names do not wait.
    pub(crate) fn with<R, E>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<T, E>,
        look: impl FnOnce(&T) -> R,
    ) -> Result<R, E> {
        let place = Arc::clone(locked(&self.0).entry(key.to_owned()).or_default());
        place.get_or_make(make).map(look)
    }
}

/// The lock, even if a thread that held it has panicked: what it guards is whole at any time.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_value_is_made_once_and_a_failure_is_not_kept() {
        let (values, made) = (Keyed::default(), AtomicU32::new(0));
        assert_eq!(values.with("a", || Err::<u32, _>("no"), |it| *it), Err("no"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = || Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst) + 7);
                    assert_eq!(values.with("a", make, |it| *it), Ok(7));
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
