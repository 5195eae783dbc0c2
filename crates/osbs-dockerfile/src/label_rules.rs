//! `add_labels_in_dockerfile` as a pure function over label maps (`reactor.md` 3.1.10, corrected by 6.2 M24 and M25).

use crate::model::LabelMap;

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
    /// To be appended as one LABEL line, in this order.
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
}

/// Automatic labels unless configured otherwise.
pub const DEFAULT_AUTO_LABELS: [&str; 5] =
    ["build-date", "architecture", "vcs-type", "vcs-ref", "com.redhat.build-host"];

/// `dont_overwrite_if_in_dockerfile` unless configured otherwise.
pub const DEFAULT_KEEP_DOCKERFILE: [&str; 2] = ["distribution-scope", "com.redhat.license_terms"];

impl LabelRules {
    /// With the defaults of the plugin: automatic labels, aliases, and what the Dockerfile keeps.
    pub fn with_defaults() -> Self {
        todo!()
    }

    /// Applies all rules.
    ///
    /// # Errors
    /// See [`LabelRulesError`].
    pub fn apply(&self) -> Result<LabelOutcome, LabelRulesError> {
        todo!()
    }
}
