//! What the environment configuration takes away in arrangement 6 (`reactor.md` 1.3.3).
//!
//! Beyond the reference, plugins whose feature the configuration does not have are taken away here rather than run for
//! nothing; and `bump_release`, `koji_upload` and `fetch_maven_artifacts` stay without a Koji hub, because the cluster's own
//! record of NVRs, the worker's metadata and artifacts by URL are wanted there too.

use crate::lists::{PluginLists, Removal};
use osbs_config::{ReactorConfig, UserParams};
use osbs_types::Phase::{self, Exit, Postbuild, Prebuild};

/// Prunes rendered lists; the removals are for the log.
pub fn prune_by_environment(lists: &mut PluginLists, config: &ReactorConfig, params: &UserParams) -> Vec<Removal> {
    let mut removed = Vec::new();
    for (condition, phase, plugins, reason) in rules(config, params) {
        for plugin in plugins.iter().filter(|_| condition) {
            lists.remove_from(phase, plugin, reason, &mut removed);
        }
    }
    if params.yum_repourls.is_empty() {
        lists.remove_from(Prebuild, "add_yum_repo_by_url", "the request gives no yum repositories", &mut removed);
    }
    let producers = ["koji", "add_yum_repo_by_url", "flatpak_create_dockerfile"];
    if !producers.iter().any(|plugin| lists.contains(plugin)) {
        lists.remove_from(Prebuild, "inject_yum_repo", "nothing provides yum repositories", &mut removed);
    }
    removed
}

type Rule = (bool, Phase, &'static [&'static str], &'static str);

fn rules(config: &ReactorConfig, params: &UserParams) -> [Rule; 18] {
    // hub_url and root_url are both required in `koji`, so one rule does for "either is missing" (6.2, M38). The plugin for
    // artifacts stays: it needs Koji only where the repository asks for something out of it.
    let no_koji = config.koji.is_none();
    let (no_pulp, no_registry) = (config.pulp.is_none(), config.registries.is_empty());
    let no_archives = !config.pulp.as_ref().is_some_and(|pulp| pulp.image_archives);
    let first = config.registries.first().map(|registry| &registry.uri.host);
    let same = first.is_some() && first == config.source_registry.as_ref().map(|source| &source.uri.host);
    let checks_media = config.registries.iter().any(|registry| !registry.expected_media_types.is_empty());
    let extracts = params.platform.as_ref().map(osbs_types::Platform::as_str);
    let extracts = extracts.is_some() && extracts == params.operator_manifests_extract_platform.as_deref();
    [
        (true, Prebuild, &["dockerfile_content"], "obsolete"),
        (no_koji, Prebuild, &["inject_parent_image", "koji_parent", "koji"], "no Koji"),
        (no_koji, Exit, &["koji_promote", "koji_import", "koji_tag_build"], "no Koji"),
        (no_pulp, Postbuild, &["pulp_pull"], "no Pulp"),
        (no_pulp, Exit, &["pulp_pull"], "no Pulp"),
        (no_pulp, Postbuild, &["pulp_sync", "pulp_tag", "pulp_push"], "no Pulp"),
        (no_pulp, Exit, &["delete_from_registry", "pulp_publish"], "no Pulp"),
        (
            no_archives,
            Postbuild,
            &["pulp_push", "pulp_tag"],
            "Docker v1 content is not made any more, image archives not asked for",
        ),
        (no_registry, Postbuild, &["pulp_sync"], "no registry to sync from"),
        (no_registry, Exit, &["delete_from_registry"], "no registry to sync from"),
        (same, Exit, &["delete_from_registry"], "it is also the source registry"),
        (config.odcs.is_none(), Prebuild, &["resolve_composes"], "no ODCS"),
        (config.smtp.is_none(), Exit, &["sendmail"], "no smtp"),
        (config.sources_command.is_none(), Prebuild, &["distgit_fetch_artefacts"], "no sources_command"),
        (config.hide_files.is_none(), Prebuild, &["hide_files"], "no hide_files"),
        (params.trigger_imagestreamtag.is_none(), Prebuild, &["check_and_set_rebuild"], "no triggers"),
        (!checks_media, Exit, &["verify_media"], "no registry has expected_media_types"),
        (!extracts, Postbuild, &["export_operator_manifests"], "another platform extracts operator manifests, or none"),
    ]
}
