//! Which stages a target needs, and which images these need.

use crate::error::{BuildError, PlanError};
use crate::request::StageLabel;
use crate::variables::GlobalArgs;
use osbs_dockerfile::{Dockerfile, Instruction, InstructionKind, MountText, Stage};
use osbs_types::{Architecture, Platform, Position};
use std::collections::{BTreeMap, BTreeSet};

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageParent {
    Scratch,
    Stage(usize),
    Image { name: String, platform: Option<Architecture> },
}

/// The stages of a Dockerfile and the way to the target.
pub(crate) struct Plan<'d> {
    pub stages: Vec<Stage<'d>>,
    pub parents: Vec<StageParent>,
    /// Stages to build, each after those it needs; the target last.
    pub order: Vec<usize>,
    pub target: usize,
    pub args: GlobalArgs,
    /// For each stage: others without which it cannot do anything but get its parent image.
    pub first_needs: Vec<Vec<usize>>,
    labels: Vec<Label>,
}

/// What a stage is called in messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Label {
    number: usize,
    name: String,
    side_by_side: bool,
}

impl Label {
    pub(crate) fn as_label(&self) -> StageLabel<'_> {
        StageLabel { number: self.number, name: &self.name, side_by_side: self.side_by_side }
    }
}

/// What `--from` or `from=` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromPlace {
    Stage(usize),
    Image(String),
    /// A stage that does not come before.
    Later,
}

impl<'d> Plan<'d> {
    pub(crate) fn new(
        dockerfile: &'d Dockerfile,
        build_args: &BTreeMap<String, String>,
        target: Option<&str>,
        architecture: &Architecture,
    ) -> Result<Self, BuildError> {
        let stages = dockerfile.stages();
        if stages.is_empty() {
            return Err(BuildError::Plan(PlanError::NoFrom));
        }
        let mut args = GlobalArgs::new(build_args, architecture, dockerfile.escape());
        for instruction in dockerfile.meta_args() {
            let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
            for declaration in declarations {
                args.declare(declaration).map_err(|(text, source)| {
                    let position = position(dockerfile, instruction);
                    BuildError::Plan(PlanError::Expansion { position, text, source: Box::new(source) })
                })?;
            }
        }
        let parents =
            stages.iter().map(|stage| parent(dockerfile, stage, &args)).collect::<Result<Vec<_>, PlanError>>();
        let parents = parents.map_err(BuildError::Plan)?;
        let target = match target {
            None => stages.len() - 1,
            Some(name) => dockerfile.find_stage_or_index(name, stages.len()).ok_or_else(|| no_target(name, &stages))?,
        };
        let (first_needs, labels) = (vec![Vec::new(); stages.len()], vec![Label::default(); stages.len()]);
        let mut plan = Self { stages, parents, order: Vec::new(), target, args, first_needs, labels };
        plan.visit(dockerfile, target);
        for &index in &plan.order {
            plan.first_needs[index] = plan.first_needs(dockerfile, index);
        }
        plan.set_labels(dockerfile);
        Ok(plan)
    }

    /// The stages it names in `--from` or `from=`, as far as can be told beforehand.
    fn stages_read(&self, dockerfile: &Dockerfile, index: usize, instruction: &Instruction) -> Vec<usize> {
        let place = |word: String| match self.place_of(dockerfile, &self.args.expand(&word).ok()?, index) {
            FromPlace::Stage(other) => Some(other),
            _ => None,
        };
        from_words(instruction).into_iter().filter_map(place).collect()
    }

    fn first_needs(&self, dockerfile: &Dockerfile, index: usize) -> Vec<usize> {
        let mut needs = match self.parents[index] {
            StageParent::Stage(parent) => vec![parent],
            _ => Vec::new(),
        };
        let works = |it: &&Instruction| {
            matches!(it.kind, InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_))
        };
        if let Some(first) = self.stages[index].instructions.iter().find(works) {
            needs.extend(self.stages_read(dockerfile, index, first));
        }
        needs
    }

    fn set_labels(&mut self, dockerfile: &Dockerfile) {
        // What a stage needs in the end, and what it needs before it begins.
        let mut all = vec![BTreeSet::new(); self.stages.len()];
        let mut before = all.clone();
        for &index in &self.order {
            let instructions = self.stages[index].instructions.iter();
            let read = instructions.flat_map(|it| self.stages_read(dockerfile, index, it));
            let close = |direct: &mut dyn Iterator<Item = usize>| -> BTreeSet<usize> {
                direct.flat_map(|other| all[other].iter().copied().chain([other])).collect()
            };
            let first = close(&mut self.first_needs[index].iter().copied());
            let whole = close(&mut read.chain(first.iter().copied()));
            (before[index], all[index]) = (first, whole);
        }
        for (number, &index) in self.order.iter().enumerate() {
            let apart = |other: &usize| before[index].contains(other) || before[*other].contains(&index);
            self.labels[index] = Label {
                number: number + 1,
                name: self.stages[index].name.map_or_else(|| index.to_string(), str::to_owned),
                side_by_side: self.order.iter().any(|other| *other != index && !apart(other)),
            };
        }
    }

    /// What to call a stage that is built; one that turned out to be needed later has the number 0.
    pub(crate) fn label(&self, index: usize) -> &Label {
        &self.labels[index]
    }

    fn visit(&mut self, dockerfile: &Dockerfile, index: usize) {
        if self.order.contains(&index) {
            return;
        }
        if let StageParent::Stage(parent) = self.parents[index] {
            self.visit(dockerfile, parent);
        }
        // What cannot be expanded here is told with its line when its turn comes.
        for instruction in self.stages[index].instructions {
            for other in self.stages_read(dockerfile, index, instruction) {
                self.visit(dockerfile, other);
            }
        }
        self.order.push(index);
    }

    /// Where `--from=name` in stage `index` points.
    pub(crate) fn place_of(&self, dockerfile: &Dockerfile, name: &str, index: usize) -> FromPlace {
        if let Some(stage) = dockerfile.find_stage_or_index(name, index) {
            return FromPlace::Stage(stage);
        }
        let later = self.stages[index..]
            .iter()
            .any(|stage| stage.name.is_some_and(|it| it.eq_ignore_ascii_case(name)) || stage.index.to_string() == name);
        if later { FromPlace::Later } else { FromPlace::Image(name.to_owned()) }
    }

    /// The image below a stage, through the stages it continues.
    pub(crate) fn root_parent(&self, mut index: usize) -> &StageParent {
        while let StageParent::Stage(parent) = self.parents[index] {
            index = parent;
        }
        &self.parents[index]
    }
}

fn no_target(name: &str, stages: &[Stage<'_>]) -> BuildError {
    let names = stages.iter().filter_map(|stage| stage.name);
    let nearest = names.min_by_key(|it| distance(it, name)).filter(|it| distance(it, name) <= 2).map(str::to_owned);
    BuildError::Plan(PlanError::NoSuchTarget { target: name.to_owned(), nearest })
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Where an instruction stands.
pub(crate) fn position(dockerfile: &Dockerfile, instruction: &Instruction) -> Position {
    Position { file: dockerfile.file_name().to_owned(), line: instruction.start_line, column: None }
}

fn parent(dockerfile: &Dockerfile, stage: &Stage<'_>, args: &GlobalArgs) -> Result<StageParent, PlanError> {
    let position = || position(dockerfile, stage.from);
    let expanded = |text: &str| {
        args.expand(text).map_err(|source| PlanError::Expansion {
            position: position(),
            text: text.to_owned(),
            source: Box::new(source),
        })
    };
    let name = expanded(stage.image)?;
    if name.trim().is_empty() {
        return Err(PlanError::EmptyFrom { position: position(), text: stage.image.to_owned() });
    }
    if name == "scratch" {
        return Ok(StageParent::Scratch);
    }
    if let Some(other) = dockerfile.find_stage(&name, stage.index) {
        return Ok(StageParent::Stage(other));
    }
    let platform = match stage.platform {
        None => None,
        Some(text) => {
            let platform = expanded(text)?;
            Some(parse_platform(&platform).ok_or_else(|| PlanError::Platform { position: position(), platform })?)
        }
    };
    Ok(StageParent::Image { name, platform })
}

/// `linux/arm64/v8`, `linux/amd64`, `arm64`, or as `uname -m` has it.
fn parse_platform(text: &str) -> Option<Architecture> {
    let parts: Vec<&str> = text.split('/').collect();
    let (name, variant) = match parts.as_slice() {
        [name] | ["linux", name] => (*name, None),
        ["linux", name, variant] => (*name, Some((*variant).to_owned())),
        _ => return None,
    };
    let known = name.parse::<Platform>().ok()?.architecture();
    Some(Architecture { name: known.name, variant: variant.or(known.variant) })
}

/// The values of `--from` and `from=` of an instruction, as written.
pub(crate) fn from_words(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        InstructionKind::Copy(transfer) => transfer.from.iter().cloned().collect(),
        InstructionKind::Run(run) => run.mounts.iter().filter_map(MountText::from_stage).collect(),
        _ => Vec::new(),
    }
}

/// The images that a build of `target` will ask [`crate::ParentImages`] for, in order, each once: those of FROM, of COPY
/// --from and of RUN --mount from. `scratch` is not among them. ONBUILD triggers of a parent may want more.
///
/// # Errors
/// The target does not exist, or a FROM cannot be expanded.
pub fn required_parents(
    dockerfile: &Dockerfile,
    build_args: &BTreeMap<String, String>,
    target: Option<&str>,
) -> Result<Vec<String>, BuildError> {
    let here = Platform::native().architecture();
    let plan = Plan::new(dockerfile, build_args, target, &here)?;
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if name != "scratch" && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    for &index in &plan.order {
        if let StageParent::Image { name, .. } = &plan.parents[index] {
            add(name);
        }
        for word in plan.stages[index].instructions.iter().flat_map(from_words) {
            let Ok(name) = plan.args.expand(&word) else { continue };
            if let FromPlace::Image(name) = plan.place_of(dockerfile, &name, index) {
                add(&name);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_order(text: &str, target: Option<&str>) -> Vec<usize> {
        let dockerfile = Dockerfile::parse(text, "Dockerfile").expect("parse");
        Plan::new(&dockerfile, &BTreeMap::new(), target, &Architecture::new("amd64")).expect("plan").order
    }

    #[test]
    fn only_needed_stages_are_built_in_order() {
        let text = "FROM a AS one\nFROM b AS two\nFROM scratch AS three\nCOPY --from=two /x /x\nFROM three\n\
                    RUN --mount=type=bind,from=one,target=/m true\n";
        assert_eq!(plan_order(text, None), [1, 2, 0, 3]);
        assert_eq!(plan_order(text, Some("three")), [1, 2]);
        assert_eq!(plan_order(text, Some("0")), [0]);
    }

    #[test]
    fn parents_are_listed_once_and_expanded() {
        let text = "ARG V=1\nFROM base:${V} AS x\nCOPY --from=other:2 /a /b\nFROM x\nCOPY --from=x /a /c\n\
                    COPY --from=other:2 /d /e\n";
        let dockerfile = Dockerfile::parse(text, "Dockerfile").expect("parse");
        let check = |args: &[(&str, &str)], expected: &[&str]| {
            let args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(required_parents(&dockerfile, &args, None).expect("parents"), expected);
        };
        check(&[], &["base:1", "other:2"]);
        check(&[("V", "7")], &["base:7", "other:2"]);
    }

    #[test]
    fn a_misspelt_target_gets_a_suggestion() {
        let dockerfile = Dockerfile::parse("FROM a AS release\n", "Dockerfile").expect("parse");
        let Err(error) =
            Plan::new(&dockerfile, &BTreeMap::new(), Some("relaese"), &Architecture::new("amd64")).map(|_| ())
        else {
            panic!("no error")
        };
        assert!(error.to_failure().to_string().contains("did you mean \"release\""), "{error:?}");
    }
}
