//! The parsed file: text, instructions, stages.

use crate::error::{DockerfileError, Problem};
use crate::instruction::{Instruction, InstructionKind};
use crate::lines::LineReader;
use crate::parse;
use osbs_types::Position;

/// Largest file, in bytes.
pub const MAX_FILE_SIZE: usize = 4 << 20;

/// Most stages. Lookups between them are linear.
pub const MAX_STAGES: usize = 1000;
/// Most instructions.
pub const MAX_INSTRUCTIONS: usize = 50_000;

/// A Dockerfile: its text and what it means. Edits keep every byte they do not have to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    file_name: String,
    text: String,
    escape: char,
    instructions: Vec<Instruction>,
    /// Indices of the FROM instructions, at least one.
    from: Vec<usize>,
    dangling: Option<usize>,
    warnings: Vec<Warning>,
}

/// Something that works, but is probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub position: Position,
    /// What, one line.
    pub message: &'static str,
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
        let position = |line: usize| Position { file: file_name.to_owned(), line, column: None };
        let error =
            |line: usize, problem: Problem| DockerfileError { position: position(line), problem: Box::new(problem) };
        if text.len() > MAX_FILE_SIZE {
            return Err(error(1, Problem::TooLarge { size: text.len(), limit: MAX_FILE_SIZE }));
        }
        let mut reader = LineReader::new(text).map_err(|(line, problem)| error(line, problem))?;
        let mut file = Self {
            file_name: file_name.to_owned(),
            text: text.to_owned(),
            escape: reader.escape,
            instructions: Vec::new(),
            from: Vec::new(),
            dangling: None,
            warnings: Vec::new(),
        };
        while let Some(line) = reader.logical() {
            let instruction =
                parse::instruction(text, &line, &mut reader).map_err(|problem| error(line.start_line, problem))?;
            if let InstructionKind::From { .. } = instruction.kind {
                file.from.push(file.instructions.len());
            } else if file.from.is_empty() && !matches!(instruction.kind, InstructionKind::Arg(_)) {
                return Err(error(line.start_line, Problem::BeforeFrom { keyword: instruction.keyword }));
            }
            for (count, limit, what) in [
                (file.from.len(), MAX_STAGES, "stages"),
                (file.instructions.len() + 1, MAX_INSTRUCTIONS, "instructions"),
            ] {
                if count > limit {
                    return Err(error(line.start_line, Problem::TooMany { what, limit }));
                }
            }
            let message = warning(&instruction).or(line.blank_continuation.then_some("a continued line is blank"));
            file.warnings.extend(message.map(|message| Warning { position: position(line.start_line), message }));
            file.dangling = line.dangling.filter(|_| instruction.heredocs.is_empty());
            file.instructions.push(instruction);
        }
        if file.from.is_empty() {
            return Err(error(1, Problem::NoFrom));
        }
        Ok(file)
    }

    /// Parses what a file holds.
    ///
    /// # Errors
    /// As [`Dockerfile::parse`], and bytes that are not UTF-8, with their line.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Self, DockerfileError> {
        let error = |line: usize, problem: Problem| {
            let position = Position { file: file_name.to_owned(), line, column: None };
            DockerfileError { position, problem: Box::new(problem) }
        };
        if bytes.len() > MAX_FILE_SIZE {
            return Err(error(1, Problem::TooLarge { size: bytes.len(), limit: MAX_FILE_SIZE }));
        }
        let text = std::str::from_utf8(bytes).map_err(|not| {
            let line = bytes[..not.valid_up_to()].split(|byte| *byte == b'\n').count();
            error(line, Problem::NotUtf8 { byte: bytes[not.valid_up_to()] })
        })?;
        Self::parse(text, file_name)
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

    /// What probably is not meant so.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The ARG instructions before the first FROM.
    pub fn meta_args(&self) -> &[Instruction] {
        &self.instructions[..self.from[0]]
    }

    /// Where the instruction starts, for messages.
    pub fn position(&self, instruction: &Instruction) -> Position {
        Position { file: self.file_name.clone(), line: instruction.start_line, column: None }
    }

    /// Offset of the escape character that continues the last line into nothing.
    pub(crate) fn dangling(&self) -> Option<usize> {
        self.dangling
    }

    /// All stages, at least one.
    pub fn stages(&self) -> Vec<Stage<'_>> {
        (0..self.from.len()).map(|index| self.stage(index)).collect()
    }

    fn stage(&self, index: usize) -> Stage<'_> {
        let start = self.from[index];
        let end = self.from.get(index + 1).copied().unwrap_or(self.instructions.len());
        let from = &self.instructions[start];
        let InstructionKind::From { image, name, platform } = &from.kind else {
            unreachable!("a stage starts with FROM")
        };
        Stage {
            index,
            name: name.as_deref(),
            image,
            platform: platform.as_deref(),
            from,
            instructions: &self.instructions[start + 1..end],
        }
    }

    /// The last stage, which becomes the image.
    pub fn final_stage(&self) -> Stage<'_> {
        self.stage(self.from.len() - 1)
    }

    /// The stage that `FROM NAME` in stage `before` means: the latest earlier one of that name (letter case ignored).
    pub fn find_stage(&self, name: &str, before: usize) -> Option<usize> {
        let named = |index: &usize| self.stage(*index).name.is_some_and(|own| own.eq_ignore_ascii_case(name));
        (0..before.min(self.from.len())).rev().find(named)
    }

    /// The stage that `COPY --from=NAME` or a mount's `from=` in stage `before` means, or `--target` with the number of
    /// stages: as [`Dockerfile::find_stage`], else an index.
    pub fn find_stage_or_index(&self, name: &str, before: usize) -> Option<usize> {
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let index = || name.parse().ok().filter(|index| digits && *index < before.min(self.from.len()));
        self.find_stage(name, before).or_else(index)
    }
}

fn warning(instruction: &Instruction) -> Option<&'static str> {
    use crate::instruction::CommandForm;
    match &instruction.kind {
        InstructionKind::Maintainer(_) => Some("MAINTAINER is obsolete: use LABEL maintainer=..."),
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) if pairs.iter().any(|pair| pair.legacy) => {
            Some("the form NAME VALUE is obsolete: write NAME=VALUE")
        }
        InstructionKind::Cmd(CommandForm::Shell(text)) | InstructionKind::Entrypoint(CommandForm::Shell(text))
            if text.starts_with('[') =>
        {
            Some("this looks like a JSON array but is none, so a shell gets it: strings need double quotes")
        }
        _ => None,
    }
}

/// The instruction of an ONBUILD trigger, as the parent's image config has it (`RUN make`). `origin` names the image in
/// error messages.
///
/// # Errors
/// The text is not one instruction, or one that ONBUILD does not allow.
pub fn parse_trigger(text: &str, origin: &str) -> Result<Instruction, DockerfileError> {
    let position = Position { file: origin.to_owned(), line: 1, column: None };
    let error = |problem| DockerfileError { position: position.clone(), problem: Box::new(problem) };
    if text.len() > MAX_FILE_SIZE {
        return Err(error(Problem::TooLarge { size: text.len(), limit: MAX_FILE_SIZE }));
    }
    let mut reader = LineReader::fragment(text, '\\');
    let line = reader.logical().ok_or_else(|| error(Problem::NotOneInstruction))?;
    let instruction = parse::instruction(text, &line, &mut reader).map_err(error)?;
    if matches!(instruction.keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
        return Err(error(Problem::Trigger { keyword: instruction.keyword }));
    }
    if reader.logical().is_some() {
        return Err(error(Problem::NotOneInstruction));
    }
    Ok(instruction)
}
