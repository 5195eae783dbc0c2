//! Which stages a target needs, and which images these need.

use crate::error::BuildError;
use crate::plan_error::PlanError;
use crate::request::StageLabel;
use crate::variables::GlobalArgs;
use osbs_dockerfile::{Dockerfile, Instruction, InstructionKind, MountText, Stage, nearest};
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

/// What a plan depends on, beside the Dockerfile.
pub(crate) struct Wanted<'r> {
    pub build_args: &'r BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<&'r str>,
    pub architecture: &'r Architecture,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
}

impl<'d> Plan<'d> {
    pub(crate) fn new(dockerfile: &'d Dockerfile, wanted: &Wanted<'_>) -> Result<Self, BuildError> {
        let stages = dockerfile.stages();
        if stages.is_empty() {
            return Err(BuildError::Plan(PlanError::NoFrom));
        }
        let Wanted { build_args, target, architecture, epoch } = *wanted;
        let mut args = GlobalArgs::new(build_args, architecture, target, epoch, dockerfile.escape());
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
                name: self.stages[index].name.map_or_else(|| format!("stage {index}"), str::to_owned),
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
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name).collect();
    let nearest = nearest(name, names.iter().copied()).map(str::to_owned);
    let stages = names.iter().map(|name| (*name).to_owned()).collect();
    BuildError::Plan(PlanError::NoSuchTarget { target: name.to_owned(), nearest, stages })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_plan<T>(text: &str, target: Option<&str>, look: impl FnOnce(Result<Plan<'_>, BuildError>) -> T) -> T {
        let dockerfile = Dockerfile::parse(text, "Dockerfile").expect("parse");
        let (build_args, architecture) = (BTreeMap::new(), Architecture::new("amd64"));
        let wanted = Wanted { build_args: &build_args, target, architecture: &architecture, epoch: None };
        look(Plan::new(&dockerfile, &wanted))
    }

    fn plan_order(text: &str, target: Option<&str>) -> Vec<usize> {
        with_plan(text, target, |plan| plan.expect("plan").order)
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
    fn a_misspelt_target_gets_a_suggestion() {
        let told = |target| {
            with_plan("FROM a AS release\nFROM b AS debug\nFROM c\n", Some(target), |plan| {
                let failure = plan.err().expect("no such stage").to_failure();
                format!("{failure} {}", failure.hint.clone().unwrap_or_default())
            })
        };
        assert!(told("relaese").contains("did you mean \"release\""), "{}", told("relaese"));
        assert!(told("other").contains("release, debug"), "{}", told("other"));
    }

    #[test]
    fn stages_that_may_overlap_are_told_apart() {
        let check = |text: &str, expected: &[bool]| {
            let side_by_side = with_plan(text, None, |plan| {
                let plan = plan.expect("plan");
                (0..plan.stages.len()).map(|index| plan.label(index).side_by_side).collect::<Vec<_>>()
            });
            assert_eq!(side_by_side, expected, "{text}");
        };
        check("FROM a\n", &[false]);
        check("FROM a AS x\nRUN a\nFROM x AS y\nFROM y\n", &[false, false, false]);
        check("FROM a AS x\nRUN a\nFROM b\nENV A=b\nCOPY --from=x /a /a\n", &[false, false]);
        check("FROM a AS x\nRUN a\nFROM b\nRUN b\nCOPY --from=x /a /a\n", &[true, true]);
        check("FROM a AS x\nFROM b AS y\nFROM c\nCOPY --from=x /x /x\nCOPY --from=y /y /y\n", &[true, true, true]);
        check(
            "FROM a AS x\nFROM b AS y\nFROM y\nRUN --mount=from=x,target=/x --mount=from=y,target=/y b\n",
            &[true, true, false],
        );
        check("FROM a AS x\nFROM b AS unused\nFROM x\n", &[false, false, false]);
    }
}
