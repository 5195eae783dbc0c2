//! Old and preferred names of labels (`reactor.md` 1.12).

use crate::model::LabelMap;

/// Preferred name and old name.
pub const LABEL_ALIASES: [(&str, &str); 11] = [
    ("name", "Name"),
    ("version", "Version"),
    ("release", "Release"),
    ("architecture", "Architecture"),
    ("vendor", "Vendor"),
    ("authoritative-source-url", "Authoritative_Registry"),
    ("com.redhat.component", "BZComponent"),
    ("com.redhat.build-host", "Build_Host"),
    ("run", "RUN"),
    ("install", "INSTALL"),
    ("uninstall", "UNINSTALL"),
];

/// Name and value of a label under any of its names, the preferred one first.
pub fn find_label<'a>(labels: &'a LabelMap, preferred: &str) -> Option<(&'a str, &'a str)> {
    let get = |name: &str| labels.get_key_value(name).map(|(key, value)| (key.as_str(), value.as_str()));
    get(preferred).or_else(|| LABEL_ALIASES.iter().filter(|(name, _)| *name == preferred).find_map(|(_, old)| get(old)))
}
