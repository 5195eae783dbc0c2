//! Edits. Each keeps all bytes it does not have to change, and ends with a file that was parsed again.

use crate::dockerfile::Dockerfile;
use crate::error::DockerfileError;
use osbs_types::ErrorKind;

/// An edit is not possible. The Dockerfile is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file itself.
    #[error("the Dockerfile cannot be read")]
    Dockerfile(#[source] DockerfileError),
    /// A label that the file format cannot hold.
    #[error("label {key:?} cannot be written into a Dockerfile: {reason}")]
    Label {
        /// Its name.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// Lines to insert that are not whole instructions.
    #[error("the lines to insert are not whole instructions: {text:?}")]
    NotInstructions {
        /// The lines.
        text: String,
    },
    /// As many parents as [`Dockerfile::parents_ordered`] gives are needed.
    #[error("{given} parent images given, the Dockerfile has {expected}")]
    ParentCount {
        /// Given.
        given: usize,
        /// Needed.
        expected: usize,
    },
}

impl EditError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile(_) | Self::Label { .. } => ErrorKind::User,
            Self::NotInstructions { .. } | Self::ParentCount { .. } => ErrorKind::Internal,
        }
    }
}

impl Dockerfile {
    /// Sets a label of the final stage: in place if it is there, else in a new line at the end. `parent_env` is used to
    /// read what is there.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn set_label(&mut self, key: &str, value: &str, parent_env: &[(String, String)]) -> Result<(), EditError> {
        let _ = (key, value, parent_env);
        todo!()
    }

    /// Appends one line `LABEL "k1"="v1" "k2"="v2"`, and gives it; nothing and `None` for no labels.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn append_labels<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<String>, EditError> {
        let _ = labels.into_iter();
        todo!()
    }

    /// Rewrites the FROM lines, each to the image of [`Dockerfile::parents_ordered`]'s place; those that do not change
    /// keep their bytes, the others become one line with their `--platform` and `AS name`.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn set_parents(&mut self, parents: &[String]) -> Result<(), EditError> {
        let _ = parents;
        todo!()
    }

    /// Inserts lines after the FROM of every stage for which `wanted` says so (it sees the stage's index).
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_after_from(&mut self, lines: &[String], wanted: &dyn Fn(usize) -> bool) -> Result<(), EditError> {
        let _ = (lines, wanted);
        todo!()
    }

    /// Inserts lines at the end of a stage, after its last instruction.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_at_stage_end(&mut self, stage: usize, lines: &[String]) -> Result<(), EditError> {
        let _ = (stage, lines);
        todo!()
    }

    /// Inserts lines before the last instruction of the final stage (M27: never inside a multi-line one); after the
    /// FROM when it is the only one.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_before_last_instruction(&mut self, lines: &[String]) -> Result<(), EditError> {
        let _ = lines;
        todo!()
    }

    /// Appends lines at the end of the file.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn append_lines(&mut self, lines: &[String]) -> Result<(), EditError> {
        let _ = lines;
        todo!()
    }
}
