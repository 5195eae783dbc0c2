//! `container.yaml`, the repository's wishes for its build (`reactor.md` 5.2).

use crate::fields::{Checker, Fields};
use crate::node::{Node, Value};
use crate::problem::{ConfigError, Parsed, ProblemKind, Severity};
use crate::shape::{Fact, Shape};
use osbs_types::{Platform, Position};

/// How the build step is done. All of them are served by the one builder there is; the names are kept for old files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildMethod {
    /// `docker_api`
    DockerApi,
    /// `imagebuilder`
    Imagebuilder,
    /// `buildah_bud`
    BuildahBud,
}

/// The words of the methods.
pub(crate) const BUILD_METHODS: &[(&str, BuildMethod)] = &[
    ("docker_api", BuildMethod::DockerApi),
    ("imagebuilder", BuildMethod::Imagebuilder),
    ("buildah_bud", BuildMethod::BuildahBud),
];

impl BuildMethod {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DockerApi => "docker_api",
            Self::Imagebuilder => "imagebuilder",
            Self::BuildahBud => "buildah_bud",
        }
    }
}

/// `platforms.only` or `platforms.not`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRule {
    /// As written; one text counts as a list of one.
    pub names: Vec<String>,
    /// Where the value stands, for errors about platforms nobody has.
    pub position: Position,
}

/// `go.modules[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoModule {
    /// Its name.
    pub module: String,
    /// Its archive.
    pub archive: Option<String>,
    /// Where it is.
    pub path: Option<String>,
}

/// `compose`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named and documented as the keys of container.yaml")]
pub struct Compose {
    /// `Some` of an empty list: all packages of the build tag.
    pub packages: Option<Vec<String>>,
    pub pulp_repos: bool,
    pub modules: Vec<String>,
    pub signing_intent: Option<String>,
    pub inherit: bool,
    pub include_unpublished_pulp_repos: bool,
    pub multilib_method: Vec<String>,
    pub multilib_arches: Vec<String>,
    pub modular_koji_tags: Vec<String>,
    /// `inherit` is the only key: that alone asks for no compose.
    pub only_inherits: bool,
}

/// A whole file. The default is the file that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerYaml {
    /// `platforms.only`: these and no others, if not empty.
    pub only: Option<PlatformRule>,
    /// `platforms.not`: none of these.
    pub not: Option<PlatformRule>,
    /// `go.modules`.
    pub go_modules: Vec<GoModule>,
    /// `go` as written, for the Koji metadata.
    pub go: Option<serde_json::Value>,
    /// `autorebuild.from_latest`.
    pub autorebuild_from_latest: bool,
    /// `compose`.
    pub compose: Option<Compose>,
    /// `flatpak` as written.
    pub flatpak: Option<serde_json::Value>,
    /// `image_build_method`.
    pub image_build_method: Option<BuildMethod>,
    /// `tags`: floating tags instead of `latest`, the version and `additional-tags`. `None` without the key.
    pub tags: Option<Vec<String>>,
}

impl ContainerYaml {
    /// Reads and checks; an empty file is as good as none.
    ///
    /// # Errors
    /// All problems of the file. Unknown keys are errors at every level.
    pub fn parse(text: &str, file: &str) -> Result<Parsed<Self>, ConfigError> {
        let node = Node::parse(text, file)?;
        if matches!(node.value, Value::Null) {
            return Ok(Parsed { value: Self::default(), warnings: Vec::new() });
        }
        let checker = Checker::new(file);
        let value = read(&checker, &node);
        Parsed::from_problems(Some(value), checker.into_problems())
    }

    /// What the reader asks for.
    pub(crate) fn shape() -> Shape {
        Checker::describe(|checker, node| {
            checker.tell("", Fact::Nullable);
            read(checker, node)
        })
    }

    /// The platforms left of `platforms` after `only` and `not`, in their order.
    pub fn restrict(&self, platforms: &[Platform]) -> Vec<Platform> {
        let names = |rule: &'_ Option<PlatformRule>| rule.as_ref().map(|rule| rule.names.clone()).unwrap_or_default();
        let (only, not) = (names(&self.only), names(&self.not));
        let has = |list: &[String], platform: &Platform| list.iter().any(|name| name == platform.as_str());
        let left = platforms.iter().filter(|platform| only.is_empty() || has(&only, platform));
        left.filter(|platform| !has(&not, platform)).cloned().collect()
    }
}

fn read(checker: &Checker, node: &Node) -> ContainerYaml {
    let root = Fields::new(checker, node, "");
    let _ = root.whole_number("version", 1);
    let mut yaml = ContainerYaml {
        autorebuild_from_latest: root.object("autorebuild").is_some_and(|autorebuild| {
            let from_latest = autorebuild.boolean("from_latest").unwrap_or(false);
            autorebuild.finish(Severity::Error);
            from_latest
        }),
        compose: root.object("compose").map(compose),
        flatpak: root.object("flatpak").map(|flatpak| flatpak.node.to_json()),
        image_build_method: root.choice("image_build_method", BUILD_METHODS),
        tags: root.texts("tags"),
        ..ContainerYaml::default()
    };
    if let Some(platforms) = root.object("platforms") {
        yaml.only = rule(&platforms, "only");
        yaml.not = rule(&platforms, "not");
        platforms.finish(Severity::Error);
        if let (Some(only), Some(not)) = (&yaml.only, &yaml.not)
            && only.names == not.names
        {
            let detail = "only and not name the same platforms, so nothing would be built".to_owned();
            checker.note(platforms_at(&root), "platforms", ProblemKind::Conflict { detail }, None, Severity::Warning);
        }
    }
    if let Some(go) = root.object("go") {
        yaml.go = Some(go.node.to_json());
        yaml.go_modules = go.objects("modules").unwrap_or_default().into_iter().filter_map(go_module).collect();
        go.finish(Severity::Error);
    }
    root.finish(Severity::Error);
    yaml
}

fn platforms_at(root: &Fields<'_>) -> Option<(usize, usize)> {
    root.get("platforms").and_then(|node| node.at)
}

fn rule(platforms: &Fields<'_>, key: &'static str) -> Option<PlatformRule> {
    let names = platforms.text_or_texts(key)?;
    let position = platforms.checker.position(platforms.get(key)?.at);
    Some(PlatformRule { names, position })
}

fn go_module(fields: Fields<'_>) -> Option<GoModule> {
    let module = fields.required_text("module");
    let (archive, path) = (fields.text("archive"), fields.text("path"));
    fields.finish(Severity::Error);
    Some(GoModule { module: module?, archive, path })
}

fn compose(fields: Fields<'_>) -> Compose {
    const METHODS: [&str; 5] = ["none", "iso", "runtime", "devel", "all"];
    // `packages:` with nothing behind it is present and empty, not absent.
    let packages = fields.get_or_null("packages").map(|node| match node.value {
        Value::Null => Vec::new(),
        _ => fields.checker.texts(node, &fields.path_of("packages")),
    });
    fields.tell("multilib_method[0]", Fact::Words(METHODS.map(str::to_owned).to_vec()));
    let multilib_method = fields.texts("multilib_method");
    for method in multilib_method.iter().flatten().filter(|method| !METHODS.contains(&method.as_str())) {
        let node = fields.get("multilib_method").unwrap_or(fields.node);
        let path = fields.path_of("multilib_method");
        fields.checker.bad_value(node, &path, method, format!("one of {}", METHODS.join(", ")));
    }
    let only_inherits = fields.checker.entries(fields.node, &fields.path).iter().all(|(key, _)| key.name == "inherit");
    let compose = Compose {
        packages,
        pulp_repos: fields.boolean("pulp_repos").unwrap_or(false),
        modules: fields.texts("modules").unwrap_or_default(),
        signing_intent: fields.text("signing_intent"),
        inherit: fields.boolean("inherit").unwrap_or(false),
        include_unpublished_pulp_repos: fields.boolean("include_unpublished_pulp_repos").unwrap_or(false),
        multilib_method: multilib_method.unwrap_or_else(|| vec!["devel".to_owned(), "runtime".to_owned()]),
        multilib_arches: fields.texts("multilib_arches").unwrap_or_default(),
        modular_koji_tags: fields.texts("modular_koji_tags").unwrap_or_default(),
        only_inherits,
    };
    fields.finish(Severity::Error);
    compose
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file() {
        let text = "\
platforms: {only: [x86_64, aarch64], not: aarch64}
go: {modules: [{module: example.com/m}]}
compose:
  packages:
  signing_intent: release
tags: [v1, stable]
image_build_method: imagebuilder
";
        let yaml = ContainerYaml::parse(text, "container.yaml").unwrap().value;
        let all: Vec<Platform> = ["ppc64le", "aarch64", "x86_64"].map(|name| name.parse().unwrap()).into();
        assert_eq!(yaml.restrict(&all), all[2..]);
        assert_eq!(yaml.compose.unwrap().packages, Some(vec![]));
        assert_eq!(yaml.tags.unwrap(), ["v1", "stable"]);
        assert_eq!(yaml.only.unwrap().position.line, 1);
    }

    #[test]
    fn nothing_is_a_file_too() {
        for text in ["", "---\n", "# nothing\n", "{}"] {
            assert_eq!(ContainerYaml::parse(text, "f").unwrap().value, ContainerYaml::default(), "{text:?}");
        }
    }

    #[test]
    fn every_mistake_with_its_place() {
        for (text, place, part) in [
            ("platform: {}\n", (1, 1), "did you mean \"platforms\"?"),
            ("platforms:\n  onyl: x86_64\n", (2, 3), "did you mean \"only\"?"),
            ("platforms:\n  only: 3\n", (2, 9), "expected a text or a list of texts, found the number 3"),
            ("tags: [1.0]\n", (1, 8), "in quotes"),
            ("image_build_method: buildah\n", (1, 21), "one of docker_api, imagebuilder, buildah_bud"),
            ("version: 0\n", (1, 10), "at least 1"),
            ("compose: {multilib_method: [some]}\n", (1, 28), "one of none, iso"),
            ("go: {modules: [{path: x}]}\n", (1, 16), "required key \"module\" is missing"),
            ("- a\n", (1, 1), "expected an object, found a list"),
            ("a: b: c\n", (1, 5), "cannot read this as YAML"),
        ] {
            let error = ContainerYaml::parse(text, "container.yaml").unwrap_err();
            let first = &error.problems()[0];
            assert_eq!((first.position.line, first.position.column), (place.0, Some(place.1)), "{text:?}: {error}");
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn mistakes_are_told_together() {
        let error = ContainerYaml::parse("tag: x\nplatforms: {not: 1}\n", "container.yaml").unwrap_err();
        assert_eq!(error.problems().len(), 2);
        let failure = error.to_failure();
        assert_eq!(failure.causes.len(), 2);
        assert!(failure.causes[0].starts_with("container.yaml:1:1: unknown key \"tag\""), "{failure}");
    }
}
