//! The book in `docs/`: links lead somewhere, configuration is read by our parsers, the steps of a build are those of the
//! arrangements, and commands are run as written and show what the book says they show.
//!
//! In a block marked `console` a line that begins with `$ ` is a command, `> ` continues it, and what follows is what it
//! shows, errors too. `...` stands for any text, as a line of its own for any lines. Without such lines anything may be
//! shown. A command that shows an error screen must fail, any other must not. All chapters are run in the order of
//! `SUMMARY.md`, each from the home folder, in one home with nothing in it; port 5000 is a free one, and the checkout is
//! `~/osbs`.

mod world;

use osbs_config::{ContainerYaml, OsbsConf, ReactorConfig};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::can_run;

/// A fenced block.
struct Block {
    /// Where it opens, as `file:line`.
    place: String,
    info: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines outside of fenced blocks, with their numbers, and the blocks.
fn split(file: &str, text: &str) -> (Vec<(usize, String)>, Vec<Block>) {
    let (mut prose, mut blocks, mut open) = (Vec::new(), Vec::new(), None::<Block>);
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                let place = format!("{file}:{}", index + 1);
                open = Some(Block { place, info: info.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => prose.push((index + 1, line.to_owned())),
        }
    }
    assert!(open.is_none(), "{file}: a block is not closed");
    (prose, blocks)
}

/// Targets of links: `[text](target)`.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// Files of the book in the order of `SUMMARY.md`.
fn chapters() -> Vec<String> {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let mut names: Vec<String> = Vec::new();
    let files = summary.lines().flat_map(links).filter_map(|target| target.split('#').next());
    for target in files.filter(|target| !target.contains('/')) {
        let file = target.split('#').next().unwrap_or(target);
        if !names.iter().any(|name| name == file) {
            names.push(file.to_owned());
        }
    }
    names
}

fn blocks() -> Vec<Block> {
    let of = |name: String| split(&format!("docs/{name}"), &read(&root().join("docs").join(&name))).1;
    chapters().into_iter().flat_map(of).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let (prose, _) = split("", &read(path));
    let headings = prose.iter().filter_map(|(_, line)| line.strip_prefix('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#'))).collect()
}

#[test]
fn every_chapter_is_listed_and_every_link_leads_somewhere() {
    let root = root();
    let listed = chapters();
    let mut wrong = Vec::new();
    let mut files: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md", "bench/README.md"]
        .map(|name| root.join(name))
        .into();
    for entry in fs::read_dir(root.join("docs")).expect("docs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".md").is_some() {
            if name != "SUMMARY.md" && !listed.contains(&name) {
                wrong.push(format!("docs/SUMMARY.md lacks {name}"));
            }
            files.push(entry.path());
        }
    }
    for file in files {
        let folder = file.parent().expect("has one");
        for (line, text) in split(&file.display().to_string(), &read(&file)).0 {
            for target in links(&text).into_iter().filter(|target| !target.contains("://")) {
                let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() { file.clone() } else { folder.join(path) };
                let found = path.exists() && (fragment.is_empty() || anchors(&path).contains(fragment));
                if !found {
                    wrong.push(format!("{}:{line}: {target} leads nowhere", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What our parser says against a block, if it is configuration. A block that is a part of config.yaml says so.
fn configuration_problem(block: &Block) -> Option<String> {
    let (kind, file) = block.info.split_once(' ').unwrap_or((block.info.as_str(), ""));
    let fault = |result: Result<Vec<String>, String>| match result {
        Ok(warnings) if warnings.is_empty() => None,
        Ok(warnings) => Some(warnings.join("\n")),
        Err(error) => Some(error),
    };
    let shown = |problems: &[osbs_config::Problem]| problems.iter().map(|it| format!("{it:?}")).collect();
    match (kind, file) {
        ("yaml", "config.yaml, in part") => {
            let text = format!("version: 1\n{}", block.text);
            fault(ReactorConfig::parse(&text, file).map(|it| shown(&it.warnings)).map_err(|it| format!("{it:?}")))
        }
        ("yaml", "config.yaml") => {
            fault(ReactorConfig::parse(&block.text, file).map(|it| shown(&it.warnings)).map_err(|it| format!("{it:?}")))
        }
        ("yaml", "container.yaml") => {
            fault(ContainerYaml::parse(&block.text, file).map(|it| shown(&it.warnings)).map_err(|it| format!("{it:?}")))
        }
        ("yaml", "fetch-artifacts-url.yaml") => {
            osbs_config::parse_url_artifacts(&block.text, file).err().map(|error| format!("{error:?}"))
        }
        ("ini", "osbs.conf") => {
            fault(OsbsConf::parse(&block.text, file).map(|it| shown(&it.warnings)).map_err(|it| format!("{it:?}")))
        }
        ("ini", "image-build.conf") => {
            osbs_config::parse_image_build_conf(&block.text, file).err().map(|error| format!("{error:?}"))
        }
        // The first is read by the hub's own builder too, the second by systemd.
        ("ini", "kojid.conf" | "osbs-kojid.service") => None,
        ("json", _) => serde_json::from_str::<serde_json::Value>(&block.text).err().map(|error| error.to_string()),
        ("yaml" | "ini", _) => {
            Some(format!("of which file is it? write ```{kind} config.yaml, say, or ```{kind} config.yaml, in part"))
        }
        _ => None,
    }
}

#[test]
fn configuration_in_the_book_is_read_without_a_complaint() {
    let problems: Vec<_> = blocks()
        .iter()
        .filter_map(|block| configuration_problem(block).map(|problem| format!("{}: {problem}", block.place)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Names in backquotes, the last part of dotted ones too.
fn named(chapter: &str) -> BTreeSet<String> {
    let (prose, _) = split(chapter, &read(&root().join("docs").join(chapter)));
    let mut names = BTreeSet::new();
    for (_, line) in &prose {
        names.extend(line.split('`').skip(1).step_by(2).flat_map(|code| code.split([' ', '.'])).map(str::to_owned));
    }
    names
}

#[test]
fn every_key_of_the_configuration_is_in_the_book() {
    let mut missing = Vec::new();
    let told = named("osbs-conf.md");
    missing.extend(osbs_config::known_keys().iter().map(|key| key.name.to_owned()).filter(|key| !told.contains(key)));
    let descriptions = read(&root().join("crates/osbs-config/src/schema/descriptions.txt"));
    for (file, chapter) in [("config.yaml", "reactor-config.md"), ("container.yaml", "container-yaml.md")] {
        let told = named(chapter);
        let keys = descriptions.lines().filter_map(|line| line.strip_prefix(file)?.trim_start().split(' ').next());
        let keys =
            keys.filter(|key| !["odcs.", "omps.", "openshift.", "flatpak."].iter().any(|no| key.starts_with(no)));
        let last = keys.filter_map(|key| key.rsplit('.').next());
        missing.extend(last.filter(|key| !told.contains(*key)).map(|key| format!("{file}: {key}")));
    }
    assert!(missing.is_empty(), "the book says nothing of {missing:?}");
}

/// The plugins of a list of an arrangement, in the order in which they run.
fn listed_plugins(file: &str) -> Vec<String> {
    let text = read(&root().join("crates/osbs-arrangement/arrangements").join(file));
    let lists: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let phases = ["prebuild", "buildstep", "prepublish", "postbuild", "exit"];
    let of = |phase: &&str| lists[format!("{phase}_plugins")].as_array().cloned().unwrap_or_default();
    phases.iter().flat_map(of).map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
}

/// The plugins that the first column of the chapter's tables names, below a heading.
fn told_plugins(heading: &str) -> Vec<String> {
    let (prose, _) = split("docs/steps.md", &read(&root().join("docs/steps.md")));
    let from = prose.iter().position(|(_, line)| line == heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let lines = prose[from + 1..].iter().map(|(_, line)| line.as_str()).take_while(|line| !line.starts_with('#'));
    let cells = lines.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`').filter(|name| !name.is_empty() && !name.contains(',')));
    names.map(str::to_owned).collect()
}

#[test]
fn the_steps_are_those_of_the_arrangements_in_their_order() {
    for (heading, file) in [
        ("### Orchestrator build, arrangement 1", "1/orchestrator.json"),
        ("### Worker build, arrangement 1", "1/worker.json"),
        ("### Orchestrator build, arrangement 6", "6/orchestrator.json"),
        ("### Worker build, arrangement 6", "6/worker.json"),
    ] {
        let mut listed = listed_plugins(file);
        // The build step is in no list of a worker: it is the build method's.
        if let (true, Some(at)) = (file.contains("worker"), listed.iter().position(|name| name == "squash")) {
            listed.insert(at, "docker_api".to_owned());
        }
        assert_eq!(told_plugins(heading), listed, "{heading}");
    }
}

/// A command of the book.
struct Step {
    place: String,
    command: String,
    /// What it shows, or nothing where that is not told.
    shows: Vec<String>,
}

/// The commands of a block.
fn steps(block: &Block) -> Vec<Step> {
    let (file, line) = block.place.rsplit_once(':').expect("a place");
    let first: usize = line.parse().expect("a number");
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in block.text.lines().enumerate() {
        let place = format!("{file}:{}", first + index + 1);
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { place, command: command.to_owned(), shows: Vec::new() });
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("{place}: a block begins with a command"));
        match line.strip_prefix("> ").or_else(|| (line == ">").then_some("")) {
            Some(more) if step.shows.is_empty() => step.command = format!("{}\n{more}", step.command),
            _ => step.shows.push(line.trim_end().to_owned()),
        }
    }
    steps
}

/// Whether a line is as the book has it; `...` is any text.
fn line_fits(pattern: &str, line: &str) -> bool {
    let parts: Vec<_> = pattern.split("...").collect();
    let [first, .., last] = parts.as_slice() else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether lines are as the book has them; a line `...` is any lines.
fn fits(patterns: &[String], lines: &[String]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "..." => (0..=lines.len()).any(|skip| fits(rest, &lines[skip..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| line_fits(first.trim_end(), line) && fits(rest, others))
        }
    }
}

#[test]
fn what_stands_for_any_text_is_understood() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a...c", "abbc", true),
        ("a...c", "abb", false),
        ("...", "", true),
        ("a\n...\nd", "a\nb\nc\nd", true),
        ("a\n...\nd", "a\nd", true),
        ("a\n...", "b", false),
        ("a", "a\nb", false),
    ] {
        assert_eq!(fits(&lines(pattern), &lines(text)), expected, "{pattern:?} {text:?}");
    }
}

/// The official command line of Koji.
fn koji() -> PathBuf {
    let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
    let output = Command::new(root().join("scripts/koji.sh")).arg("bin").arg(cache).output().expect("bash starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("koji")
}

/// A home with nothing in it, and the port of the registry that the book starts in it.
struct Home {
    folder: tempfile::TempDir,
    port: u16,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("osbs-book-").tempdir().expect("a temporary folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("made");
        std::os::unix::fs::symlink(world::OSBS, bin.join("osbs")).expect("linked");
        std::os::unix::fs::symlink(root(), folder.path().join("osbs")).expect("linked");
        std::os::unix::fs::symlink(koji(), bin.join("koji")).expect("linked");
        Self { folder, port: world::free_port() }
    }

    fn path(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Our port and folder for the book's.
    fn ours(&self, text: &str) -> String {
        text.replace("5000", &self.port.to_string()).replace("/home/you", &self.path())
    }

    /// The book's port and folder for ours.
    fn the_books(&self, text: &str) -> String {
        text.replace(&self.path(), "/home/you").replace(&format!(":{}", self.port), ":5000")
    }

    /// Runs the commands one after the other in one shell; what each showed and its exit code.
    fn run(&self, steps: &[(usize, Step)]) -> Vec<(String, i32)> {
        let mut script = String::new();
        let mut chapter = usize::MAX;
        for (of, step) in steps {
            if *of != chapter {
                script += "cd ~\n";
                chapter = *of;
            }
            let command = self.ours(&step.command);
            script += &format!("{{ {command}\n}} 2>&1 </dev/null\nprintf '\\n@@ %s\\n' $?\n");
        }
        let file = self.folder.path().join(".book.sh");
        fs::write(&file, script).expect("written");
        let path = format!("{}/bin:{}", self.path(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "600", "bash"]).arg(&file).env_clear().env("PATH", path);
        command.env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("USER", "you");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "You").env(format!("GIT_{who}_EMAIL"), "you@localhost");
        }
        let output = command.stdin(Stdio::null()).output().expect("bash starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut shown = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("\n@@ ") {
            let (code, behind) = after.split_once('\n').expect("a code");
            shown.push((self.the_books(before), code.parse().expect("a code")));
            rest = behind;
        }
        shown
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let left = world::processes_with(&self.path());
            if left.is_empty() || Instant::now() > end {
                break;
            }
            for process in left {
                let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What is wrong with a step, if anything.
fn step_problem(step: &Step, shown: Option<&(String, i32)>) -> Option<String> {
    let Some((text, code)) = shown else { return Some(format!("{}: was not reached", step.place)) };
    let lines: Vec<_> = text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect();
    let told = |line: &String| line.starts_with("  error ") || line.starts_with("error: ");
    let must_fail = step.shows.iter().any(told);
    let fault = if must_fail == (*code == 0) {
        format!("ended with {code}")
    } else if step.shows.is_empty() || fits(&step.shows, &lines) {
        return None;
    } else {
        "shows something else".to_owned()
    };
    Some(format!("{}: {} {fault}:\n{}\n", step.place, step.command, lines.join("\n")))
}

#[test]
fn commands_show_what_the_book_says() {
    if !can_run() {
        return;
    }
    let mut all = Vec::new();
    for (chapter, name) in chapters().into_iter().enumerate() {
        let blocks = split(&format!("docs/{name}"), &read(&root().join("docs").join(&name))).1;
        for block in blocks.iter().filter(|block| block.info == "console") {
            all.extend(steps(block).into_iter().map(|step| (chapter, step)));
        }
    }
    assert!(all.len() > 20, "the book has only {} commands", all.len());
    let home = Home::new();
    let shown = home.run(&all);
    let problems: Vec<_> =
        all.iter().enumerate().filter_map(|(index, (_, step))| step_problem(step, shown.get(index))).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
