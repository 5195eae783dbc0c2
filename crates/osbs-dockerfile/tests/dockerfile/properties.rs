//! What holds for every input.

use osbs_dockerfile::{Dockerfile, IgnorePatterns, expand, expand_words, go_match, parse_trigger};
use proptest::prelude::*;

/// Pieces that parsers stumble over, in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "FROM a",
        "FROM b AS c",
        "FROM scratch",
        "RUN x",
        "COPY --from=c a b",
        "LABEL k=v",
        "LABEL k v",
        "ENV A=$B",
        "ARG X=1",
        "ONBUILD RUN x",
        "CMD [\"a\"]",
        "HEALTHCHECK CMD x",
        "\n",
        "\n",
        "\n",
        "\\\n",
        " \\\n",
        "\\",
        "`",
        "#",
        "# escape=`\n",
        "\r\n",
        "<<EOF",
        "<<-'E'",
        "\nEOF\n",
        "\nE\n",
        "'",
        "\"",
        "$",
        "${",
        "}",
        ":-",
        "#",
        "%",
        "/",
        " ",
        "\t",
        "--",
        "--mount=target=/x",
        "=",
        "[",
        "]",
        "é",
        "\u{feff}",
        "\u{a0}",
        "x",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Files that parse.
fn valid() -> impl Strategy<Value = String> {
    let instruction = prop::sample::select(vec![
        "RUN a && b",
        "RUN a \\\n  # c\n  b",
        "RUN <<EOF\nFROM no\nEOF",
        "COPY <<A <<-'B' /d/\n1\nA\n\t2\n\tB",
        "LABEL a=1 b=\"2 $X\"",
        "LABEL k one  two",
        "LABEL k=1 \\\n  c=3",
        "ENV X=1 Y='2'",
        "ENV Z a b",
        "USER u",
        "# comment",
        "",
        "   ",
        "CMD [\"x\"]",
        "FROM b:2 AS two",
        "FROM --platform=$BUILDPLATFORM c",
        "from scratch as  s",
        "EXPOSE 80",
        "ONBUILD RUN x",
        "FROM \\\n d \\\n AS q",
    ]);
    let end = prop::sample::select(vec!["", "\n", "\n\n# end\n", "\nRUN dangling \\", "\nRUN dangling \\\n# c\n"]);
    (prop::collection::vec(instruction, 0..12), end, any::<bool>()).prop_map(|(instructions, end, crlf)| {
        let text = format!("# first\nFROM a:1\n{}{end}", instructions.join("\n"));
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

fn originals(file: &Dockerfile) -> Vec<String> {
    file.instructions().iter().map(|instruction| instruction.original.clone()).collect()
}

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The last instruction loses a continuation that leads nowhere, so it is compared without.
fn without_dangling(text: &str) -> &str {
    text.split("\\\n# c")
        .next()
        .unwrap_or_default()
        .split("\\\r\n# c")
        .next()
        .unwrap_or_default()
        .trim_end_matches(['\\', ' '])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn parsing_never_panics(text in prop_oneof![any::<String>(), soup(), soup().prop_map(|s| format!("FROM a\n{s}"))]) {
        let _ = parse_trigger(&text, "x");
        if let Ok(file) = Dockerfile::parse(&text, "Dockerfile") {
            prop_assert_eq!(file.text(), text.as_str());
            let mut end = 0;
            for instruction in file.instructions() {
                prop_assert!(instruction.span.start >= end && instruction.span.end <= text.len());
                prop_assert!(text[instruction.span.clone()].starts_with(instruction.original.as_str()));
                prop_assert!(instruction.start_line <= instruction.end_line);
                end = instruction.span.end;
            }
            let _ = (file.labels(&[]), file.envs(&[]), file.parents_ordered(), file.base_image(), file.check_copy_from());
            let mut edited = file.clone();
            if edited.append_labels([("k", "v")]).is_ok() {
                prop_assert_eq!(edited.instructions().len(), file.instructions().len() + 1);
            }
            let mut edited = file.clone();
            if edited.insert_before_last_instruction(&["RUN new".to_owned()]).is_ok() {
                prop_assert_eq!(edited.instructions().len(), file.instructions().len() + 1);
            }
        }
    }

    #[test]
    fn expansion_never_panics(text in prop_oneof![any::<String>(), soup()]) {
        let env = |name: &str| name.len().is_multiple_of(2).then(|| "v a".to_owned());
        let _ = expand(&text, &env, '\\');
        let _ = expand(&text, &env, '`');
        let _ = expand_words(&text, &env, '\\');
    }

    #[test]
    fn matching_never_panics(pattern in "[a-c*?\\[\\]^\\\\/!.-]{0,12}", path in "[a-c/]{1,8}") {
        let _ = go_match(&pattern, path.as_bytes());
        if let Ok(patterns) = IgnorePatterns::parse(pattern.as_bytes()) {
            let below = format!("{path}/x");
            if patterns.prunes(path.as_bytes()) {
                prop_assert!(patterns.is_ignored(path.as_bytes()) && patterns.is_ignored(below.as_bytes()));
            }
        }
    }

    #[test]
    fn pruned_folders_hold_nothing_that_is_kept(lines in prop::collection::vec("!?[ab*]{1,2}(/[ab*]{1,2}){0,2}", 1..5), folder in "[ab](/[ab]){0,2}", below in "[ab](/[ab]){0,2}") {
        let patterns = IgnorePatterns::parse(lines.join("\n").as_bytes()).expect("valid");
        if patterns.prunes(folder.as_bytes()) {
            let path = format!("{folder}/{below}");
            prop_assert!(patterns.is_ignored(path.as_bytes()), "{} below {:?}", path, lines);
        }
    }

    #[test]
    fn any_label_survives(key in "[^=\r\n]{1,20}", value in "[^\r\n]{0,40}", text in valid()) {
        let mut file = parse(&text);
        file.set_label(&key, &value, &[]).expect("can be written");
        let labels = file.labels(&[("X".into(), "no".into())]).expect("readable");
        prop_assert_eq!(labels.get(&key), Some(&value));
    }

    #[test]
    fn setting_a_label_keeps_the_others(text in valid(), key in prop::sample::select(vec!["a", "k", "c", "new"])) {
        let before = parse(&text);
        let mut after = before.clone();
        after.set_label(key, "changed $X", &[]).expect("can be written");
        let mut expected = before.labels(&[]).expect("readable");
        expected.insert(key.to_owned(), "changed $X".to_owned());
        prop_assert_eq!(after.labels(&[]).expect("readable"), expected);
        let other = |file: &Dockerfile| originals(file).into_iter().filter(|text| !text.contains("LABEL")).map(|text| without_dangling(&text).to_owned()).collect::<Vec<_>>();
        prop_assert_eq!(other(&before), other(&after));
    }

    #[test]
    fn inserted_lines_change_nothing_else(text in valid(), stage in 0_usize..4) {
        let before = parse(&text);
        let new = ["RUN new1".to_owned(), "RUN new2 \\\n x".to_owned()];
        let without_new = |file: &Dockerfile| originals(file).into_iter().filter(|text| !text.contains("new")).map(|text| without_dangling(&text).to_owned()).collect::<Vec<_>>();
        let mut after = before.clone();
        after.insert_after_from(&new, &|_| true).expect("valid");
        prop_assert_eq!(without_new(&before), without_new(&after));
        prop_assert_eq!(after.instructions().len(), before.instructions().len() + 2 * before.stages().len());
        let mut after = before.clone();
        after.insert_at_stage_end(stage, &new).expect("valid");
        prop_assert_eq!(without_new(&before), without_new(&after));
        let mut after = before.clone();
        after.insert_before_last_instruction(&new).expect("valid");
        prop_assert_eq!(without_new(&before), without_new(&after));
        prop_assert_eq!(after.instructions().len(), before.instructions().len() + 2);
    }

    #[test]
    fn parents_written_back_change_nothing(text in valid()) {
        let before = parse(&text);
        let mut after = before.clone();
        after.set_parents(&before.parents_ordered().expect("valid")).expect("valid");
        prop_assert_eq!(after.text(), before.text());
        let new: Vec<String> = before.parents_ordered().expect("valid").iter().map(|_| "new:1".to_owned()).collect();
        after.set_parents(&new).expect("valid");
        prop_assert_eq!(after.parents_ordered().expect("valid"), new);
        prop_assert_eq!(after.instructions().len(), before.instructions().len());
    }
}
