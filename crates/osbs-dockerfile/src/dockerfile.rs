//! The parsed file: text, instructions, stages.

use crate::error::DockerfileError;
use crate::instruction::Instruction;

/// A Dockerfile: its text and what it means. Edits keep every byte they do not have to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    file_name: String,
    text: String,
    escape: char,
    instructions: Vec<Instruction>,
}

/// One stage: from its FROM to the next.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// From 0.
    pub index: usize,
    /// `AS` name in lower case.
    pub name: Option<&'a str>,
    /// As written after FROM (variables of ARGs before the first FROM not substituted).
    pub image: &'a str,
    /// `--platform` as written.
    pub platform: Option<&'a str>,
    /// The FROM.
    pub from: &'a Instruction,
    /// All after it.
    pub instructions: &'a [Instruction],
}

impl Dockerfile {
    /// Parses.
    ///
    /// # Errors
    /// The first mistake, with its place; `file_name` is what users call the file.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, DockerfileError> {
        let _ = (text, file_name);
        todo!()
    }

    /// The whole text, byte for byte as given to [`Dockerfile::parse`] until it is edited.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What users call the file.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The escape character: backslash, or backtick by directive.
    pub fn escape(&self) -> char {
        self.escape
    }

    /// All, in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The ARG instructions before the first FROM.
    pub fn meta_args(&self) -> &[Instruction] {
        todo!()
    }

    /// All stages, at least one.
    pub fn stages(&self) -> Vec<Stage<'_>> {
        todo!()
    }

    /// The stage that `FROM NAME` in stage `before` means: the latest earlier one of that name (letter case ignored).
    pub fn find_stage(&self, name: &str, before: usize) -> Option<usize> {
        let _ = (name, before);
        todo!()
    }

    /// The stage that `COPY --from=NAME`, a mount's `from=` or `--target` means: as [`Dockerfile::find_stage`], else an
    /// index.
    pub fn find_stage_or_index(&self, name: &str, before: usize) -> Option<usize> {
        let _ = (name, before);
        todo!()
    }
}

/// The instruction of an ONBUILD trigger, as the parent's image config has it (`RUN make`). `origin` names the image in
/// error messages.
///
/// # Errors
/// The text is not one instruction, or one that ONBUILD does not allow.
pub fn parse_trigger(text: &str, origin: &str) -> Result<Instruction, DockerfileError> {
    let _ = (text, origin);
    todo!()
}
