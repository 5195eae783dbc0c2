//! `hide_files` of `config.yaml`: which files of the parents no RUN sees.

use super::HideFiles;
use crate::fields::Fields;
use crate::problem::Severity;
use crate::shape::Fact;

/// Both keys are needed; every file is named once.
pub(super) fn hide_files(fields: Fields<'_>) -> Option<HideFiles> {
    fields.tell("tmpdir", Fact::NotEmpty);
    fields.tell("files", Fact::Distinct);
    fields.tell("files[0]", Fact::NotEmpty);
    let tmpdir = fields.required_text("tmpdir");
    let files = fields.require("files").map(|node| (node, fields.checker.texts(node, &fields.path_of("files"))));
    if let (Some(""), Some(node)) = (tmpdir.as_deref(), fields.get("tmpdir")) {
        fields.checker.bad_value(node, &fields.path_of("tmpdir"), "", "a folder name");
    }
    if let Some((node, files)) = &files {
        let mut sorted: Vec<&String> = files.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        if files.is_empty() || files.iter().any(String::is_empty) || sorted.len() != files.len() {
            let found = files.join(", ");
            let path = fields.path_of("files");
            fields.checker.bad_value(node, &path, &found, "a list of different file names, at least one");
        }
    }
    fields.finish(Severity::Error);
    Some(HideFiles { tmpdir: tmpdir?, files: files?.1 })
}
