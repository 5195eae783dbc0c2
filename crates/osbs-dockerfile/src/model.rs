//! The Dockerfile as OSBS sees it: parents, labels and environment of the final stage (`reactor.md` 1.2 and 1.12).

use crate::dockerfile::Dockerfile;
use crate::error::DockerfileError;
use osbs_types::Position;

/// Labels or variables in the order of their first appearance.
pub type LabelMap = indexmap::IndexMap<String, String>;

/// `COPY --from=` or `RUN --mount=from=` names something that is no earlier stage. OSBS pulls and records only images
/// that stand in a FROM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {keyword} uses {from:?}, which is neither name nor index of an earlier stage")]
pub struct CopyFromProblem {
    /// The instruction.
    pub position: Position,
    /// `COPY` or `RUN`.
    pub keyword: String,
    /// What was written.
    pub from: String,
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
        todo!()
    }

    /// All parent images in order, duplicates kept, `:latest` explicit; `scratch` kept; stages that continue an earlier
    /// stage have no parent image of their own and are left out.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn parents_ordered(&self) -> Result<Vec<String>, DockerfileError> {
        todo!()
    }

    /// The parent image of the final stage (through earlier stages it continues), or `scratch`.
    ///
    /// # Errors
    /// As [`Dockerfile::parents`].
    pub fn base_image(&self) -> Result<String, DockerfileError> {
        todo!()
    }

    /// The checks of 1.2 on references between stages, one entry each.
    pub fn check_copy_from(&self) -> Vec<CopyFromProblem> {
        todo!()
    }

    /// Labels of the final stage, variables substituted from `parent_env` and the ENV instructions above each.
    ///
    /// # Errors
    /// A word that cannot be expanded.
    pub fn labels(&self, parent_env: &[(String, String)]) -> Result<LabelMap, DockerfileError> {
        let _ = parent_env;
        todo!()
    }

    /// ENV of the final stage (without what is only in `parent_env`).
    ///
    /// # Errors
    /// A word that cannot be expanded.
    pub fn envs(&self, parent_env: &[(String, String)]) -> Result<LabelMap, DockerfileError> {
        let _ = parent_env;
        todo!()
    }

    /// The last USER instruction of the final stage, as written.
    pub fn last_user(&self) -> Option<&str> {
        todo!()
    }
}
