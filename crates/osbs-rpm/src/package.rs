//! One installed package, as OSBS writes it down.

use serde_json::{Value, json};

/// The format given to `rpm -qa --qf` (`reactor.md` 3.4.1): ten fields, joined by semicolons.
pub const QUERY_FORMAT: &str = "%{NAME};%{VERSION};%{RELEASE};%{ARCH};%{EPOCH};%{SIZE};%{SIGMD5};%{BUILDTIME};\
                                %{SIGPGP:pgpsig};%{SIGGPG:pgpsig}\\n";

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Architecture; `None` for a package without, such as an imported key.
    pub arch: Option<String>,
    /// Epoch; `None` is not the same as 0 to Koji.
    pub epoch: Option<u32>,
    /// Installed size in bytes.
    pub size: Option<u64>,
    /// MD5 of header and payload, hex.
    pub sigmd5: Option<String>,
    /// When it was built, seconds since 1970.
    pub build_time: Option<u64>,
    /// Key id of the signature, 16 hex digits, or rpm's text where it names none.
    pub signature: Option<String>,
}

impl Package {
    /// From one line of the query; `None` when it has fewer than ten fields or describes an imported key.
    pub fn from_query_line(line: &str) -> Option<Self> {
        let fields: Vec<_> =
            line.split(';').map(|field| (field != "(none)" && !field.is_empty()).then_some(field)).collect();
        let [name, version, release, arch, epoch, size, sigmd5, build_time, pgp, gpg, ..] = fields[..] else {
            return None;
        };
        let text = |field: Option<&str>| field.map(str::to_owned);
        let package = Self {
            name: text(name)?,
            version: text(version)?,
            release: text(release)?,
            arch: text(arch),
            epoch: epoch.and_then(|field| field.parse().ok()),
            size: size.and_then(|field| field.parse().ok()),
            sigmd5: text(sigmd5),
            build_time: build_time.and_then(|field| field.parse().ok()),
            signature: pgp.or(gpg).map(|field| field.split_once("Key ID ").map_or(field, |(_, id)| id).to_owned()),
        };
        (package.name != "gpg-pubkey").then_some(package)
    }

    /// The same package as a line of the query.
    pub fn to_query_line(&self) -> String {
        fn or_none(value: Option<impl ToString>) -> String {
            value.map_or_else(|| "(none)".to_owned(), |value| value.to_string())
        }
        let signature = self.signature.as_deref().map(|id| format!("Key ID {id}"));
        format!(
            "{};{};{};{};{};{};{};{};{};(none)",
            self.name,
            self.version,
            self.release,
            or_none(self.arch.as_deref()),
            or_none(self.epoch),
            or_none(self.size),
            or_none(self.sigmd5.as_deref()),
            or_none(self.build_time),
            or_none(signature),
        )
    }

    /// The component of Koji's content generator metadata.
    pub fn to_component(&self) -> Value {
        json!({
            "type": "rpm",
            "name": self.name,
            "version": self.version,
            "release": self.release,
            "arch": self.arch,
            "epoch": self.epoch,
            "sigmd5": self.sigmd5,
            "signature": self.signature,
        })
    }
}

/// The packages in the query's output, in its order; lines that are none are left out.
pub fn parse_query_output(output: &str) -> Vec<Package> {
    output.lines().filter_map(Package::from_query_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference() {
        let line = "bash;5.2.26;3.fc40;x86_64;(none);8516016;9a0c;1706;RSA/SHA256, Mon 05 Feb 2024 10:00:00 AM UTC, \
                    Key ID 0727707ea15b79cc;(none)";
        let package = Package::from_query_line(line).expect("ten fields");
        assert_eq!((package.epoch, package.signature.as_deref()), (None, Some("0727707ea15b79cc")));
        assert_eq!(Package::from_query_line(&package.to_query_line()), Some(package));
    }

    #[test]
    fn keys_and_noise_are_left_out() {
        let output = "gpg-pubkey;a15b79cc;63d04c2c;(none);(none);0;(none);1674595372;(none);(none)\n\
                      warning: something\n\nhello;1;2;noarch;1;5;aa;7;(none);DSA/SHA1, Key ID 1234\n";
        let packages = parse_query_output(output);
        assert_eq!(packages.len(), 1);
        assert_eq!((packages[0].epoch, packages[0].signature.as_deref()), (Some(1), Some("1234")));
    }
}
