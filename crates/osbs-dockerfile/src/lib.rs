//! Dockerfile parser that keeps the text, variable expansion, edits that keep formatting, ignore patterns.
//!
//! Pure: it sees texts, never files, images or the environment. Start reading at [`Dockerfile`]; what an instruction
//! says is in [`InstructionKind`]; variables are substituted by [`expand()`] when their values are known. The rules of
//! OSBS's label plugin are in [`label_rules`].
//!
//! The meaning of everything is that of BuildKit's Dockerfile frontend, unless the item says otherwise.

mod dockerfile;
mod duration;
mod edit;
mod error;
mod expand;
mod flags;
mod go_match;
mod heredoc;
mod ignore;
mod instruction;
mod label_aliases;
pub mod label_rules;
mod lines;
mod model;
mod mount;
mod parse;
mod shell_pattern;
mod words;

pub use dockerfile::{Dockerfile, MAX_FILE_SIZE, MAX_INSTRUCTIONS, MAX_STAGES, Stage, Warning, parse_trigger};
pub use edit::EditError;
pub use error::{DockerfileError, Problem};
pub use expand::{ExpandError, MAX_EXPANSION, expand, expand_heredoc, expand_words};
pub use go_match::go_match;
pub use ignore::{IgnorePatterns, PatternError};
pub use instruction::{
    ArgDeclaration, CommandForm, Flag, Healthcheck, Heredoc, Instruction, InstructionKind, Pair, Run, RunNetwork,
    RunProgram, RunSecurity, Source, Transfer,
};
pub use label_aliases::{LABEL_ALIASES, find_label};
pub use model::{CopyFromProblem, LabelMap, Parent, is_custom_base_image};
pub use mount::{Mount, MountError, MountText, Sharing};
pub use words::nearest;
