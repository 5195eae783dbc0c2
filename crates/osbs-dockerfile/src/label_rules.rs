//! `add_labels_in_dockerfile` as a pure function over label maps (`reactor.md` 3.1.10, corrected by 6.2 M24 and M25).
//!
//! Words used below: B are the labels of the base image, D those of the Dockerfile's final stage, P the plugin's own
//! set. "New" is D overlaid by P, "all" is B overlaid by New.

use crate::label_aliases::LABEL_ALIASES;
use crate::model::LabelMap;
use osbs_types::ErrorKind;

/// Everything the rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelRules {
    /// B: labels of the base image; empty for scratch and custom base images.
    pub base: LabelMap,
    /// D: labels of the final stage, with inherited environment.
    pub dockerfile: LabelMap,
    /// Labels given as parameters.
    pub labels: LabelMap,
    /// `image_labels` of the configuration; wins over `labels`.
    pub image_labels: LabelMap,
    /// Names of automatic labels that are wanted.
    pub auto_labels: Vec<String>,
    /// Automatic values that are known (`build-date`, `architecture`, `vcs-type`, `vcs-ref`, ...).
    pub auto_values: LabelMap,
    /// Old name -> preferred name.
    pub aliases: LabelMap,
    /// Groups of labels with equal values.
    pub equal_labels: Vec<Vec<String>>,
    /// Format of the `url` label, `{label}` is replaced.
    pub info_url_format: Option<String>,
    /// Base image labels that are not overwritten.
    pub dont_overwrite: Vec<String>,
    /// Dockerfile labels that are not overwritten.
    pub dont_overwrite_if_in_dockerfile: Vec<String>,
}

/// What the rules give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelOutcome {
    /// To be appended as one LABEL line, in this order ([`crate::Dockerfile::append_labels`]).
    pub emit: LabelMap,
    /// For the log.
    pub warnings: Vec<String>,
}

/// The rules cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelRulesError {
    /// `info_url_format` names a label that does not exist.
    #[error("info_url_format {format:?} uses label {label:?}, which the image does not have")]
    UnknownLabelInUrl {
        /// The format.
        format: String,
        /// The label.
        label: String,
    },
    /// `info_url_format` with a brace too many or too few.
    #[error("info_url_format {format:?} has a brace without its partner; a plain brace is written twice")]
    UrlFormat {
        /// The format.
        format: String,
    },
}

impl LabelRulesError {
    /// A label that misses is the repository's, the format is the site's.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownLabelInUrl { .. } => ErrorKind::User,
            Self::UrlFormat { .. } => ErrorKind::Policy,
        }
    }
}

/// Automatic labels unless configured otherwise.
pub const DEFAULT_AUTO_LABELS: [&str; 5] =
    ["build-date", "architecture", "vcs-type", "vcs-ref", "com.redhat.build-host"];

/// `dont_overwrite_if_in_dockerfile` unless configured otherwise.
pub const DEFAULT_KEEP_DOCKERFILE: [&str; 2] = ["distribution-scope", "com.redhat.license_terms"];

/// Old name -> preferred name, for [`LabelRules::aliases`].
pub fn default_aliases() -> LabelMap {
    LABEL_ALIASES.iter().map(|(preferred, old)| ((*old).to_owned(), (*preferred).to_owned())).collect()
}

impl LabelRules {
    /// With the defaults of the plugin: automatic labels, aliases, and what the Dockerfile keeps.
    pub fn with_defaults() -> Self {
        Self {
            auto_labels: DEFAULT_AUTO_LABELS.map(str::to_owned).to_vec(),
            aliases: default_aliases(),
            dont_overwrite_if_in_dockerfile: DEFAULT_KEEP_DOCKERFILE.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// Applies all rules.
    ///
    /// # Errors
    /// See [`LabelRulesError`].
    pub fn apply(&self) -> Result<LabelOutcome, LabelRulesError> {
        let mut plugin = self.labels.clone();
        plugin.extend(self.image_labels.clone());
        let mut work = Work { rules: self, plugin, warnings: Vec::new() };
        work.add_automatic();
        work.add_aliases();
        work.make_equal();
        work.add_url()?;
        let emit = work.plugin.iter().filter(|(key, value)| work.is_emitted(key, value));
        Ok(LabelOutcome { emit: emit.map(|(k, v)| (k.clone(), v.clone())).collect(), warnings: work.warnings })
    }
}

struct Work<'a> {
    rules: &'a LabelRules,
    /// P.
    plugin: LabelMap,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// Of D overlaid by P.
    fn new_value(&self, label: &str) -> Option<&String> {
        self.plugin.get(label).or_else(|| self.rules.dockerfile.get(label))
    }

    /// Of B overlaid by D overlaid by P.
    fn any_value(&self, label: &str) -> Option<&String> {
        self.new_value(label).or_else(|| self.rules.base.get(label))
    }

    /// Explicit parameters win (M25).
    fn add_automatic(&mut self) {
        for name in &self.rules.auto_labels {
            if self.plugin.contains_key(name) {
                continue;
            }
            match self.rules.auto_values.get(name) {
                Some(value) => {
                    self.plugin.insert(name.clone(), value.clone());
                }
                None => self.warnings.push(format!("automatic label {name:?} has no value and is not set")),
            }
        }
    }

    fn add_aliases(&mut self) {
        for (old, preferred) in &self.rules.aliases {
            let Some(old_value) = self.any_value(old).cloned() else { continue };
            let Some(preferred_value) = self.any_value(preferred).cloned() else {
                self.plugin.insert(preferred.clone(), old_value);
                continue;
            };
            if old_value == preferred_value {
                continue;
            }
            let old_is_new = self.new_value(old).is_some();
            let preferred_is_new = self.new_value(preferred).is_some();
            if old_is_new && !preferred_is_new {
                self.plugin.insert(preferred.clone(), old_value);
            } else {
                self.plugin.insert(old.clone(), preferred_value);
            }
        }
    }

    fn make_equal(&mut self) {
        for group in &self.rules.equal_labels {
            let explicit: Vec<&String> = group.iter().filter(|label| self.new_value(label).is_some()).collect();
            let inherited = |label: &String| self.new_value(label).is_none() && self.rules.base.contains_key(label);
            let (value, keep): (String, Vec<&String>) = if let Some(first) = explicit.first() {
                let Some(value) = self.new_value(first).cloned() else { continue };
                let same = group.iter().filter(|label| inherited(label) && self.rules.base.get(*label) == Some(&value));
                let keep = explicit.iter().copied().chain(same).collect();
                (value, keep)
            } else {
                let inherited: Vec<&String> = group.iter().filter(|label| inherited(label)).collect();
                let Some(value) = inherited.first().and_then(|first| self.rules.base.get(*first)) else { continue };
                (value.clone(), inherited)
            };
            for label in group.iter().filter(|label| !keep.contains(label)) {
                self.plugin.insert(label.clone(), value.clone());
            }
        }
    }

    fn add_url(&mut self) -> Result<(), LabelRulesError> {
        let Some(format) = &self.rules.info_url_format else { return Ok(()) };
        let malformed = || LabelRulesError::UrlFormat { format: format.clone() };
        let mut url = String::new();
        let mut rest = format.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            url.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix(brace) {
                url.push_str(brace);
                rest = tail;
                continue;
            }
            if brace == "}" {
                return Err(malformed());
            }
            let (label, tail) = rest.split_once('}').ok_or_else(malformed)?;
            let value = self.any_value(label).ok_or_else(|| LabelRulesError::UnknownLabelInUrl {
                format: format.clone(),
                label: label.to_owned(),
            })?;
            url.push_str(value);
            rest = tail;
        }
        url.push_str(rest);
        self.plugin.insert("url".to_owned(), url);
        Ok(())
    }

    fn is_emitted(&self, key: &str, value: &str) -> bool {
        let rules = self.rules;
        let listed = |list: &[String]| list.iter().any(|label| label == key);
        let in_dockerfile = rules.dockerfile.get(key);
        let same = in_dockerfile.is_some_and(|own| own == value);
        let kept = listed(&rules.dont_overwrite_if_in_dockerfile) && in_dockerfile.is_some();
        let inherited = rules.base.contains_key(key) && listed(&rules.dont_overwrite) && in_dockerfile.is_none();
        !(same || kept || inherited)
    }
}
