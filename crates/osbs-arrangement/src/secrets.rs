//! Which secrets a build gets, and where they appear (`client-and-koji.md` 2.7).

/// Where secrets appear unless a place is given.
pub const SECRETS_ROOT: &str = "/var/run/secrets/atomic-reactor";

/// One secret of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Its name.
    pub secret: String,
    /// The folder it appears as.
    pub path: String,
}

/// `/var/run/secrets/atomic-reactor/NAME`
pub fn default_mount_point(secret: &str) -> String {
    format!("{SECRETS_ROOT}/{secret}")
}

/// The secrets of one build; each is mounted once, and the first place stays.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Vec<SecretMount>);

impl Mounts {
    /// Mounts a secret and says where it is.
    pub fn mount(&mut self, secret: &str, path: Option<&str>) -> String {
        if let Some(known) = self.0.iter().find(|known| known.secret == secret) {
            return known.path.clone();
        }
        let path = path.map_or_else(|| default_mount_point(secret), str::to_owned);
        self.0.push(SecretMount { secret: secret.to_owned(), path: path.clone() });
        path
    }

    pub fn into_inner(self) -> Vec<SecretMount> {
        self.0
    }
}
