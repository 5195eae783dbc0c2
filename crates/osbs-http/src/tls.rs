//! The TLS provider, installed once for the process: reqwest is built without one.

use std::sync::Once;

static INSTALLED: Once = Once::new();

/// Makes ring the process's provider, unless the program has chosen another one before.
pub(crate) fn install_provider() {
    INSTALLED.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
