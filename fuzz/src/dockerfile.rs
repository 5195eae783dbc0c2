//! Dockerfiles: every byte is accounted for, an instruction means the same alone and with other line ends, edits change
//! what they say and nothing else, messages are fit for a terminal.

use crate::check_message;
use osbs_dockerfile::{Dockerfile, DockerfileError, Flag, Instruction, InstructionKind, parse_trigger};
use std::error::Error;

/// Parses, reads and edits a Dockerfile.
pub fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = parse_trigger(&text, "image") {
        check_error(&error, &text);
    }
    let file = match Dockerfile::parse(&text, "Dockerfile") {
        Ok(file) => file,
        Err(error) => return check_error(&error, &text),
    };
    check_text(&file, &text);
    check_alone(&file);
    check_line_ends(&file, &text);
    check_values(&file);
    check_edits(&file);
}

fn check_error(error: &DockerfileError, text: &str) {
    let lines = text.split('\n').count();
    assert!((1..=lines).contains(&error.position.line), "line {} of {lines}", error.position.line);
    check_message(&error.to_string());
    check_message(&error.hint().unwrap_or_default());
    let mut source = error.source();
    while let Some(cause) = source {
        check_message(&cause.to_string());
        source = cause.source();
    }
}

/// Instructions are in order; between them are comments and blank lines only.
fn check_text(file: &Dockerfile, text: &str) {
    assert_eq!(file.text(), text);
    let (mut end, mut last_line) = (0, 0);
    for instruction in file.instructions() {
        let span = instruction.span.clone();
        check_gap(&text[end..span.start]);
        assert!(text[span.clone()].starts_with(&instruction.original));
        assert!(last_line < instruction.start_line && instruction.start_line <= instruction.end_line);
        assert_eq!(text[..span.start].matches('\n').count() + 1, instruction.start_line);
        (end, last_line) = (span.end, instruction.end_line);
    }
    check_gap(&text[end..]);
}

fn check_gap(gap: &str) {
    for line in gap.trim_start_matches('\u{feff}').split('\n') {
        let line = line.trim();
        assert!(line.is_empty() || line.starts_with('#'), "{line:?} is in no instruction");
    }
}

/// Places apart, which differ when the text around differs.
fn meaning(instruction: &Instruction) -> (String, String, Vec<Flag>, String) {
    let kind = match &instruction.kind {
        InstructionKind::Onbuild { trigger, text } => format!("{text:?} {:?}", trigger.kind),
        kind => format!("{kind:?}"),
    };
    (instruction.keyword.clone(), instruction.logical.clone(), instruction.flags.clone(), kind)
}

fn with_directive(file: &Dockerfile, text: &str) -> String {
    format!("# escape={}\n{text}", file.escape())
}

/// Each instruction read by itself means what it means in the file.
fn check_alone(file: &Dockerfile) {
    // The work is quadratic for files of many lines, and they teach nothing new.
    for instruction in file.instructions().iter().take(20) {
        let text = with_directive(file, &format!("FROM x\n{}", instruction.original));
        let alone = Dockerfile::parse(&text, "Dockerfile").expect("it could be read in the file");
        assert_eq!(alone.instructions().len(), 2, "{text:?}");
        assert_eq!(meaning(&alone.instructions()[1]), meaning(instruction), "{text:?}");
    }
}

/// The same file from another editor.
fn check_line_ends(file: &Dockerfile, text: &str) {
    let has_heredocs = file.instructions().iter().any(|instruction| !instruction.heredocs.is_empty());
    if text.contains('\r') || has_heredocs {
        return;
    }
    let other = text.replace('\n', "\r\n");
    let other = Dockerfile::parse(&other, "Dockerfile").expect("it could be read with other line ends");
    let both = file.instructions().iter().zip(other.instructions());
    both.for_each(|(one, two)| assert_eq!(meaning(one), meaning(two)));
    assert_eq!(file.instructions().len(), other.instructions().len());
}

/// What other crates ask a Dockerfile for.
fn check_values(file: &Dockerfile) {
    for warning in file.warnings() {
        check_message(warning.message);
    }
    let results = [
        file.labels(&[]).err(),
        file.envs(&[("X".to_owned(), "a b".to_owned())]).err(),
        file.parents().err(),
        file.base_image().err(),
        file.custom_base_images().err(),
    ];
    for error in results.into_iter().flatten() {
        check_error(&error, file.text());
    }
    for problem in file.check_copy_from() {
        check_message(&problem.to_string());
        check_message(&problem.hint());
    }
    for instruction in file.instructions() {
        match &instruction.kind {
            InstructionKind::Run(run) => {
                let _ = run.program(&instruction.heredocs);
                for mount in &run.mounts {
                    if let Err(error) = mount.resolve(&|text| Ok(text.replace('$', "S"))) {
                        check_message(&error.to_string());
                    }
                    let _ = mount.from_stage();
                }
            }
            InstructionKind::Onbuild { trigger, text } if file.escape() == '\\' => {
                let again = parse_trigger(text, "image").expect("a trigger that was accepted can be read again");
                assert_eq!(meaning(&again), meaning(trigger));
            }
            _ => {}
        }
    }
}

fn check_edits(file: &Dockerfile) {
    let before: Vec<_> = file.instructions().iter().map(meaning).collect();
    // A last line that is continued into nothing loses that when something is put below it.
    let kept = if file.text().trim_end().ends_with(file.escape()) { before.len() - 1 } else { before.len() };
    let mut edited = file.clone();
    if edited.append_labels([("a \"b", "c$d\\`'")]).is_ok() {
        assert_eq!(edited.instructions().len(), before.len() + 1);
        let after: Vec<_> = edited.instructions().iter().map(meaning).collect();
        assert_eq!(after[..kept], before[..kept]);
        if let Ok(labels) = edited.labels(&[]) {
            assert_eq!(labels.get("a \"b").map(String::as_str), Some("c$d\\`'"));
        }
    }
    let mut edited = file.clone();
    let new = ["RUN new \\\n x".to_owned()];
    if file.escape() == '\\' && edited.insert_after_from(&new, &|_| true).is_ok() {
        assert_eq!(edited.instructions().len(), before.len() + file.stages().len());
    }
    let mut edited = file.clone();
    if let (Ok(mut expected), Ok(())) = (file.labels(&[]), edited.set_label("k", "v w", &[])) {
        expected.insert("k".to_owned(), "v w".to_owned());
        assert_eq!(edited.labels(&[]).expect("it could be read before"), expected);
    }
    let mut edited = file.clone();
    if let Ok(parents) = file.parents_ordered() {
        edited.set_parents(&parents).expect("its own parents");
        assert_eq!(edited.text(), file.text());
    }
}
