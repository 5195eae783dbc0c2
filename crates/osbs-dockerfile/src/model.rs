//! The Dockerfile as OSBS sees it: parents, labels and environment of the final stage (`reactor.md` 1.2 and 1.12).

use crate::dockerfile::Dockerfile;
use crate::error::{DockerfileError, Problem, quoted, shown};
use crate::expand::{ExpandError, expand_within};
use crate::instruction::{Instruction, InstructionKind, Pair};
use crate::shell_pattern::Steps;
use crate::words::nearest;
use osbs_types::{ErrorKind, Position, PullSpec};
use std::collections::HashMap;

/// Bytes that all words of a Dockerfile may have together after expansion.
const BUDGET: usize = 32 << 20;

/// What is left for all words of a Dockerfile together.
struct Budget {
    bytes: usize,
    steps: Steps,
}

impl Budget {
    fn new() -> Self {
        Self { bytes: BUDGET, steps: Steps::new(Steps::FILE) }
    }
}

/// Labels or variables in the order of their first appearance.
pub type LabelMap = indexmap::IndexMap<String, String>;

/// `COPY --from=` or `RUN --mount=from=` names something that is no earlier stage. OSBS pulls and records only images
/// that stand in a FROM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {keyword} uses {}, which is neither the name nor the index of an earlier stage", quoted(from))]
pub struct CopyFromProblem {
    /// The instruction.
    pub position: Position,
    /// `COPY` or `RUN`.
    pub keyword: String,
    /// What was written.
    pub from: String,
    /// The stage that was probably meant.
    pub suggestion: Option<String>,
}

impl CopyFromProblem {
    /// The author of the Dockerfile.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match &self.suggestion {
            Some(stage) => format!("did you mean {stage}?"),
            None => {
                format!("to use an image, add a stage `FROM {} AS NAME` above and write NAME here", shown(&self.from))
            }
        }
    }
}

/// The parent of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// `FROM scratch`.
    Scratch,
    /// An earlier stage by index.
    Stage(usize),
    /// `koji/image-build[:FILE]`: the base image is made by Koji (or locally), not pulled. With explicit tag.
    Custom(String),
    /// An image, with explicit tag.
    Image(String),
}

impl Parent {
    /// The image with explicit tag, or `scratch`; `None` for a stage.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Scratch => Some("scratch"),
            Self::Stage(_) => None,
            Self::Custom(image) | Self::Image(image) => Some(image),
        }
    }
}

/// `^koji/image-build(:.*)?$`: a custom base image.
pub fn is_custom_base_image(image: &str) -> bool {
    image == "koji/image-build" || image.starts_with("koji/image-build:")
}

impl Dockerfile {
    /// The parent of each stage, in order; variables of ARGs before the first FROM substituted by their defaults.
    ///
    /// # Errors
    /// A name that is no image name, or a variable that cannot be substituted.
    pub fn parents(&self) -> Result<Vec<Parent>, DockerfileError> {
        self.parents_with(&|_| None)
    }

    /// The same with build arguments, which win over the defaults of declared ARGs; platform arguments
    /// (`TARGETARCH`, ...) need no declaration, so they are asked for too.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn parents_with(&self, build_args: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Parent>, DockerfileError> {
        let args = self.meta_arg_values(build_args)?;
        let env =
            |name: &str| args.get(name).cloned().flatten().or_else(|| build_args(name).filter(|_| is_platform(name)));
        let mut budget = Budget::new();
        let mut names: HashMap<&str, usize> = HashMap::new();
        let mut parents = Vec::new();
        for stage in self.stages() {
            let image = self.expanded(stage.image, &env, stage.from, &mut budget)?;
            let earlier = names.get(image.to_ascii_lowercase().as_str()).copied();
            parents.push(match earlier {
                Some(index) => Parent::Stage(index),
                None => parent(&image).map_err(|problem| self.error(stage.from, problem))?,
            });
            names.extend(stage.name.map(|name| (name, stage.index)));
        }
        Ok(parents)
    }

    /// The values of the ARGs before the first FROM; `None` for one that has none.
    ///
    /// # Errors
    /// A default that cannot be expanded.
    pub fn meta_arg_values(
        &self,
        build_args: &dyn Fn(&str) -> Option<String>,
    ) -> Result<HashMap<String, Option<String>>, DockerfileError> {
        let mut budget = Budget::new();
        let mut values: HashMap<String, Option<String>> = HashMap::new();
        for instruction in self.meta_args() {
            let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
            for declaration in declarations {
                let env = |name: &str| {
                    values.get(name).cloned().flatten().or_else(|| build_args(name).filter(|_| is_platform(name)))
                };
                let default =
                    declaration.default.as_deref().map(|text| self.expanded(text, &env, instruction, &mut budget));
                let value = build_args(&declaration.name).or(default.transpose()?);
                values.insert(declaration.name.clone(), value);
            }
        }
        Ok(values)
    }

    /// All parent images in order, duplicates kept, `:latest` explicit; `scratch` kept; stages that continue an earlier
    /// stage have no parent image of their own and are left out.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn parents_ordered(&self) -> Result<Vec<String>, DockerfileError> {
        Ok(self.parents()?.iter().filter_map(|parent| parent.image().map(str::to_owned)).collect())
    }

    /// The parent image of the final stage (through earlier stages it continues), or `scratch`.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn base_image(&self) -> Result<String, DockerfileError> {
        let parents = self.parents()?;
        let mut index = parents.len() - 1;
        // Stages refer only to earlier ones, so this ends.
        while let Parent::Stage(earlier) = parents[index] {
            index = earlier;
        }
        Ok(parents[index].image().expect("the loop ends at a stage with an image").to_owned())
    }

    /// Different custom base images among the parents; OSBS supports at most one.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn custom_base_images(&self) -> Result<Vec<String>, DockerfileError> {
        let mut images = Vec::new();
        for parent in self.parents()? {
            if let Parent::Custom(image) = parent
                && !images.contains(&image)
            {
                images.push(image);
            }
        }
        Ok(images)
    }

    /// The checks of 1.2 on references between stages, one entry each. Names with variables are left to the builder.
    pub fn check_copy_from(&self) -> Vec<CopyFromProblem> {
        let stages = self.stages();
        let mut earlier: HashMap<String, usize> = HashMap::new();
        let mut problems = Vec::new();
        for stage in &stages {
            for instruction in stage.instructions {
                for from in references(instruction) {
                    let known = earlier.contains_key(&from.to_ascii_lowercase())
                        || from.parse::<usize>().is_ok_and(|index| index < stage.index);
                    if known || from.contains('$') {
                        continue;
                    }
                    // The comparison is not free, and nobody reads more suggestions than these.
                    let names = stages[..stage.index].iter().filter_map(|stage| stage.name);
                    let suggestion = if problems.len() < 20 { nearest(&from, names) } else { None };
                    problems.push(CopyFromProblem {
                        position: self.position(instruction),
                        keyword: instruction.keyword.clone(),
                        suggestion: suggestion.map(str::to_owned),
                        from,
                    });
                }
            }
            earlier.extend(stage.name.map(|name| (name.to_owned(), stage.index)));
        }
        problems
    }

    /// Labels of the final stage, variables substituted from `parent_env` and the ENV instructions above each.
    ///
    /// # Errors
    /// A word that cannot be expanded.
    pub fn labels(&self, parent_env: &[(String, String)]) -> Result<LabelMap, DockerfileError> {
        let mut labels = LabelMap::new();
        self.visit_labels(parent_env, &mut |_, _, key, value| {
            labels.insert(key, value);
        })?;
        Ok(labels)
    }

    /// ENV of the final stage (without what is only in `parent_env`).
    ///
    /// # Errors
    /// A word that cannot be expanded.
    pub fn envs(&self, parent_env: &[(String, String)]) -> Result<LabelMap, DockerfileError> {
        self.visit_labels(parent_env, &mut |_, _, _, _| {})
    }

    /// Calls `visit` for every label of the final stage with instruction, index in it, name and value; gives its ENV.
    pub(crate) fn visit_labels(
        &self,
        parent_env: &[(String, String)],
        visit: &mut dyn FnMut(&Instruction, usize, String, String),
    ) -> Result<LabelMap, DockerfileError> {
        let inherited: HashMap<&str, &str> = parent_env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let mut budget = Budget::new();
        let mut envs = LabelMap::new();
        for instruction in self.final_stage().instructions {
            let env = |name: &str| {
                envs.get(name).map(String::as_str).or_else(|| inherited.get(name).copied()).map(str::to_owned)
            };
            match &instruction.kind {
                InstructionKind::Label(pairs) => {
                    for (index, pair) in pairs.iter().enumerate() {
                        let (key, value) = self.expanded_pair(pair, &env, instruction, &mut budget)?;
                        visit(instruction, index, key, value);
                    }
                }
                InstructionKind::Env(pairs) => {
                    // All values of one instruction see the environment before it.
                    let pairs = pairs.iter().map(|pair| self.expanded_pair(pair, &env, instruction, &mut budget));
                    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
                    envs.extend(pairs);
                }
                _ => {}
            }
        }
        Ok(envs)
    }

    /// The last USER instruction of the final stage, as written.
    pub fn last_user(&self) -> Option<&str> {
        self.last_user_of(self.final_stage().index)
    }

    /// The last USER instruction of a stage, as written.
    pub fn last_user_of(&self, stage: usize) -> Option<&str> {
        let stages = self.stages();
        let mut instructions = stages.get(stage)?.instructions.iter().rev();
        instructions.find(|i| matches!(i.kind, InstructionKind::User(_))).map(|i| i.original.as_str())
    }

    fn expanded_pair(
        &self,
        pair: &Pair,
        env: &dyn Fn(&str) -> Option<String>,
        instruction: &Instruction,
        budget: &mut Budget,
    ) -> Result<(String, String), DockerfileError> {
        let key = self.expanded(&pair.key, env, instruction, budget)?;
        Ok((key, self.expanded(&pair.value, env, instruction, budget)?))
    }

    /// Expands, and takes the length from the budget: a large value in many words would otherwise fill the memory.
    fn expanded(
        &self,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        instruction: &Instruction,
        budget: &mut Budget,
    ) -> Result<String, DockerfileError> {
        let expanded = expand_within(text, env, self.escape(), &mut budget.steps).and_then(|value| {
            budget.bytes = budget.bytes.checked_sub(value.len()).ok_or(ExpandError::TooLong { limit: BUDGET })?;
            Ok(value)
        });
        let text = || text.chars().take(200).collect();
        expanded.map_err(|source| self.error(instruction, Problem::Expand { text: text(), source }))
    }

    fn error(&self, instruction: &Instruction, problem: Problem) -> DockerfileError {
        DockerfileError { position: self.position(instruction), problem: Box::new(problem) }
    }
}

/// The platform arguments of the global scope.
fn is_platform(name: &str) -> bool {
    let parts = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    parts.is_some_and(|part| matches!(part, "PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT"))
}

fn parent(image: &str) -> Result<Parent, Problem> {
    if image == "scratch" {
        return Ok(Parent::Scratch);
    }
    let spec: PullSpec =
        image.parse().map_err(|source| Problem::Image { text: image.chars().take(300).collect(), source })?;
    let image = spec.with_explicit_tag().to_string();
    Ok(if is_custom_base_image(&image) { Parent::Custom(image) } else { Parent::Image(image) })
}

/// What the instruction takes from stages or images.
fn references(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        InstructionKind::Copy(transfer) => transfer.from.clone().into_iter().collect(),
        InstructionKind::Run(run) => run.mounts.iter().filter_map(crate::mount::MountText::from_stage).collect(),
        _ => Vec::new(),
    }
}
