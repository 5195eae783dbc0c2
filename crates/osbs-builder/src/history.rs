//! The image's history: one entry for each instruction, and which of them stands for the one new layer.
//!
//! Must not show what only the request knows: values of build arguments, secrets, and what is made of them.

use crate::config_change::StageConfig;
use osbs_dockerfile::{Heredoc, Instruction, InstructionKind, Pair, Run, RunProgram};
use osbs_image::History;

/// An instruction's entry.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// As `docker history` shows it.
    pub text: String,
    /// It may have changed files.
    pub files: bool,
}

/// The text of an instruction that was carried out; `config` is what it made. What became part of the config is shown as
/// it is there; all else as it is written.
pub(crate) fn created_by(instruction: &Instruction, config: &StageConfig) -> String {
    let image = &config.image.config;
    let pairs = |pairs: &[Pair], value: &dyn Fn(&Pair) -> Option<String>| {
        let shown = pairs.iter().map(|pair| value(pair).unwrap_or_else(|| format!("{}={}", pair.key, pair.value)));
        format!("{} {}", instruction.keyword, shown.collect::<Vec<_>>().join(" "))
    };
    match &instruction.kind {
        InstructionKind::Run(run) => run_text(run, &instruction.heredocs, config),
        InstructionKind::Workdir(_) => format!("WORKDIR {}", image.working_dir),
        InstructionKind::User(_) => format!("USER {}", image.user),
        InstructionKind::Stopsignal(_) => format!("STOPSIGNAL {}", image.stop_signal.as_deref().unwrap_or_default()),
        InstructionKind::Env(list) => {
            pairs(list, &|pair| image.env.iter().find(|it| it.split('=').next() == Some(&pair.key)).cloned())
        }
        InstructionKind::Label(list) => {
            pairs(list, &|pair| image.labels.get(&pair.key).map(|value| format!("{}={value}", pair.key)))
        }
        _ => {
            let text = crate::transfer::shown(instruction);
            let rest = text.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
            format!("{} {}", instruction.keyword, rest.trim_start())
        }
    }
}

/// With the shell that ran it and what heredocs say, so that the history tells what was done.
fn run_text(run: &Run, heredocs: &[Heredoc], config: &StageConfig) -> String {
    match run.program(heredocs) {
        RunProgram::Shell(text) => format!("RUN {} {text}", config.shell().join(" ")),
        RunProgram::Exec(args) => format!("RUN {}", serde_json::Value::from(args)),
        RunProgram::Script { name, content } => format!("RUN <<{name}\n{content}{name}"),
    }
}

/// The entries of this build; the last instruction that may have changed files stands for the layer.
pub(crate) fn own(notes: &[Note], created: &str) -> Vec<History> {
    let entry = |text: &str, empty_layer: bool| History {
        created: Some(created.to_owned()),
        created_by: Some(text.to_owned()),
        empty_layer,
        ..History::default()
    };
    if notes.is_empty() {
        return vec![entry("FROM", false)];
    }
    let layer = notes.iter().rposition(|note| note.files).unwrap_or(notes.len() - 1);
    notes.iter().enumerate().map(|(index, note)| entry(&note.text, index != layer)).collect()
}

/// Makes as many entries of the parent's history stand for a layer as it has layers. Many tools write none.
pub(crate) fn balance(history: &mut Vec<History>, layers: usize) {
    let with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
    if with_layer < layers {
        let unknown = || History { created_by: Some("(unknown)".to_owned()), ..History::default() };
        history.splice(0..0, std::iter::repeat_with(unknown).take(layers - with_layer));
    }
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer).skip(layers) {
        entry.empty_layer = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str, files: bool) -> Note {
        Note { text: text.to_owned(), files }
    }

    #[test]
    fn exactly_one_entry_stands_for_the_layer() {
        let check = |notes: &[Note], expected: &[bool]| {
            let empty: Vec<bool> = own(notes, "now").iter().map(|entry| entry.empty_layer).collect();
            assert_eq!(empty, expected, "{notes:?}");
        };
        check(&[], &[false]);
        check(&[note("ENV", false)], &[false]);
        check(&[note("COPY", true), note("RUN", true), note("CMD", false)], &[true, false, true]);
    }

    #[test]
    fn a_parents_history_is_made_to_fit_its_layers() {
        let entries =
            |empty: &[bool]| empty.iter().map(|&it| History { empty_layer: it, ..History::default() }).collect();
        let check = |history: &[bool], layers: usize, expected: &[bool]| {
            let mut history: Vec<History> = entries(history);
            balance(&mut history, layers);
            let empty: Vec<bool> = history.iter().map(|entry| entry.empty_layer).collect();
            assert_eq!(empty, expected);
        };
        check(&[], 2, &[false, false]);
        check(&[false, true], 1, &[false, true]);
        check(&[false, true], 3, &[false, false, false, true]);
        check(&[false, false, false], 1, &[false, true, true]);
    }
}
